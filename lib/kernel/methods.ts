/** The methods of a class, inherited ones included, each as it is called on an instance. */
export function methodsOf(target: Function): Function[] {
  return [...namedMethodsOf(target.prototype).values()];
}

/** The same by name, of a prototype. */
export function namedMethodsOf(prototype: unknown): Map<string, Function> {
  const methods = new Map<string, Function>();
  for (let proto = prototype; proto && proto !== Object.prototype;) {
    for (const [name, { value }] of Object.entries(Object.getOwnPropertyDescriptors(proto))) {
      if (typeof value === 'function' && name !== 'constructor' && !methods.has(name))
        methods.set(name, value as Function);
    }
    proto = Object.getPrototypeOf(proto);
  }
  return methods;
}
