/** What may be thrown and cannot be printed. */
export const unprintables: Readonly<Record<string, () => unknown>> = {
  undefined: () => undefined,
  'a symbol': () => Symbol('secret@shop.example'),
  'an object without a prototype': () => Object.create(null) as unknown,
  'an object whose toString() throws': () => ({ toString: fail, [Symbol.toPrimitive]: fail }),
  'an error whose fields throw': () =>
    Object.defineProperties(new Error('no'), {
      stack: { get: fail },
      message: { get: fail },
      name: { get: fail },
      code: { get: fail },
      constructor: { get: fail },
    }),
  'an error whose fields are objects': () =>
    Object.assign(new Error('no'), { stack: {}, message: {}, name: {}, code: {} }),
  'a proxy that was revoked': () => {
    const { proxy, revoke } = Proxy.revocable({}, {});
    revoke();
    return proxy;
  },
};

function fail(): never {
  throw new Error('it cannot be looked at');
}
