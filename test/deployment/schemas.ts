// What the manifests here may consist of, and nothing else: a field with a slip in its name is refused, as the API
// server would refuse it or, worse, overlook it. From the references of Kubernetes and of Compose.

type Schema = Readonly<Record<string, unknown>>;

const text: Schema = { type: 'string', minLength: 1 };
const whole: Schema = { type: 'integer', minimum: 0 };
const flag: Schema = { type: 'boolean' };
const labels: Schema = { type: 'object', additionalProperties: text, minProperties: 1 };
const quantity: Schema = { type: 'string', pattern: '^[0-9]+(m|Mi|Gi)?$' };
const isOneOf = (...values: readonly string[]): Schema => ({ enum: values });
const list = (items: Schema): Schema => ({ type: 'array', items, minItems: 1 });
const byName = (values: Schema): Schema => ({ type: 'object', additionalProperties: values });

/** Names with `?` may be absent. */
function object(fields: Readonly<Record<string, Schema>>): Schema {
  const entries = Object.entries(fields).map(([name, schema]) => [name.replace('?', ''), schema] as const);
  return {
    type: 'object',
    additionalProperties: false,
    required: Object.keys(fields).filter(name => !name.endsWith('?')),
    properties: Object.fromEntries(entries),
  };
}

const metadata = object({ name: { type: 'string', pattern: '^[a-z0-9-]{1,63}$' }, 'labels?': labels });
const selector = object({ matchLabels: labels });

const probe = object({
  httpGet: object({ path: { type: 'string', pattern: '^/' }, port: text }),
  periodSeconds: whole,
  'timeoutSeconds?': whole,
  failureThreshold: whole,
});

const container = object({
  name: text,
  image: text,
  ports: list(object({ name: text, containerPort: whole })),
  env: list({
    oneOf: [
      object({ name: text, value: { type: 'string' } }),
      object({ name: text, valueFrom: object({ secretKeyRef: object({ name: text, key: text }) }) }),
    ],
  }),
  startupProbe: probe,
  livenessProbe: probe,
  readinessProbe: probe,
  resources: object({
    requests: object({ cpu: quantity, memory: quantity }),
    limits: object({ 'cpu?': quantity, memory: quantity }),
  }),
  securityContext: object({
    allowPrivilegeEscalation: { const: false },
    readOnlyRootFilesystem: { const: true },
    capabilities: object({ drop: { const: ['ALL'] } }),
  }),
  volumeMounts: list(object({ name: text, mountPath: { type: 'string', pattern: '^/' } })),
});

const pod = object({
  automountServiceAccountToken: { const: false },
  enableServiceLinks: flag,
  terminationGracePeriodSeconds: whole,
  securityContext: object({
    runAsNonRoot: { const: true },
    runAsUser: { type: 'integer', minimum: 1 },
    runAsGroup: { type: 'integer', minimum: 1 },
    seccompProfile: object({ type: isOneOf('RuntimeDefault') }),
  }),
  containers: list(container),
  volumes: list(object({ name: text, emptyDir: object({ sizeLimit: quantity }) })),
});

/** By kind. */
export const kubernetes: Readonly<Record<string, Schema>> = {
  Deployment: object({
    apiVersion: { const: 'apps/v1' },
    kind: text,
    metadata,
    spec: object({
      replicas: { type: 'integer', minimum: 2 },
      selector,
      strategy: object({ rollingUpdate: object({ maxSurge: whole, maxUnavailable: whole }) }),
      template: object({ metadata: object({ labels }), spec: pod }),
    }),
  }),
  Service: object({
    apiVersion: { const: 'v1' },
    kind: text,
    metadata,
    spec: object({ selector: labels, ports: list(object({ name: text, port: whole, targetPort: text })) }),
  }),
  PodDisruptionBudget: object({
    apiVersion: { const: 'policy/v1' },
    kind: text,
    metadata,
    spec: object({ maxUnavailable: whole, selector }),
  }),
  ServiceMonitor: object({
    apiVersion: { const: 'monitoring.coreos.com/v1' },
    kind: text,
    metadata,
    spec: object({
      selector,
      endpoints: list(object({ port: text, path: { const: '/metrics' }, interval: text })),
    }),
  }),
  Kustomization: object({
    apiVersion: { const: 'kustomize.config.k8s.io/v1beta1' },
    kind: text,
    resources: list(text),
  }),
};

const duration: Schema = { type: 'string', pattern: '^[0-9]+(ms|s|m)$' };
const localPort: Schema = { type: 'string', pattern: '^127\\.0\\.0\\.1:[0-9]+:[0-9]+$' };

export const compose: Schema = object({
  name: text,
  services: byName({
    oneOf: ['image', 'build'].map(from =>
      object({
        [from]:
          from === 'image' ? { type: 'string', pattern: ':' } : object({ context: text, dockerfile: text }),
        'command?': list(text),
        'environment?': byName(text),
        // Reached from this machine alone.
        'ports?': list(localPort),
        'volumes?': list(text),
        'depends_on?': {
          oneOf: [list(text), byName(object({ condition: isOneOf('service_healthy', 'service_started') }))],
        },
        'healthcheck?': {
          oneOf: [
            object({ disable: { const: true } }),
            object({
              test: { type: 'array', items: text, minItems: 2, prefixItems: [{ const: 'CMD' }] },
              interval: duration,
              timeout: duration,
              retries: whole,
            }),
          ],
        },
        'read_only?': flag,
        'tmpfs?': list(text),
        'cap_drop?': { const: ['ALL'] },
        'security_opt?': list(text),
        'stop_grace_period?': duration,
        'restart?': isOneOf('unless-stopped', 'always', 'on-failure', 'no'),
      }),
    ),
  }),
  volumes: byName({ type: 'null' }),
});
