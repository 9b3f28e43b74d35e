// What a terminal or a viewer takes for more than a character: control characters, line separators,
// marks that turn the direction of what follows (https://trojansource.codes), halves of a character.
const UNSAFE = /\p{Cc}|[\u2028\u2029]|\p{Bidi_Control}|\p{Cs}/gu;

/** The text with no character that could begin a line, steer a terminal or hide what stands beside it. */
export function oneLine(text: string): string {
  return text.replace(UNSAFE, c => `\\u${c.charCodeAt(0).toString(16).padStart(4, '0')}`);
}

const PLAIN = /^[\w.:=+/@-]{1,200}$/;
const MAX_LENGTH = 200;

/** The text as a value of `name=value`: as it is, or as a JSON string that cannot look like another field. */
export function oneWord(text: string): string {
  return PLAIN.test(text) ? text : oneLine(JSON.stringify(text.slice(0, MAX_LENGTH)));
}
