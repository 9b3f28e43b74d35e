/** The methods of a class, inherited ones included, each as it is called on an instance. */
export function methodsOf(target: Function): Function[] {
  const methods = new Map<string, Function>();
  for (let proto: unknown = target.prototype; proto && proto !== Object.prototype;) {
    for (const [name, { value }] of Object.entries(Object.getOwnPropertyDescriptors(proto))) {
      if (typeof value === 'function' && name !== 'constructor' && !methods.has(name))
        methods.set(name, value as Function);
    }
    proto = Object.getPrototypeOf(proto);
  }
  return [...methods.values()];
}
