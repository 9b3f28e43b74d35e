import { execFileSync } from 'node:child_process';
import { copyFileSync, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Ajv2020 } from 'ajv/dist/2020.js';
import { describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { hasPrometheus } from '../support/prometheus-server';
import { instruction, read, root } from './image';
import { compose, kubernetes } from './schemas';

const SAMPLE = 'sample-app';
const KUBERNETES = `${SAMPLE}/kubernetes`;

interface Probe {
  readonly httpGet: { readonly path: string; readonly port: string };
}

interface Deployment {
  readonly spec: {
    readonly selector: { readonly matchLabels: object };
    readonly template: {
      readonly metadata: { readonly labels: object };
      readonly spec: {
        readonly terminationGracePeriodSeconds: number;
        readonly containers: readonly {
          readonly ports: readonly { readonly name: string; readonly containerPort: number }[];
          readonly env: readonly { readonly name: string; readonly value?: string }[];
          readonly livenessProbe: Probe;
          readonly readinessProbe: Probe;
          readonly volumeMounts: readonly { readonly name: string }[];
        }[];
        readonly volumes: readonly { readonly name: string }[];
      };
    };
  };
}

interface Service {
  readonly image?: string;
  readonly volumes?: readonly string[];
  readonly depends_on?: object;
  readonly healthcheck?: object;
  readonly environment?: Readonly<Record<string, string>>;
}

const ajv = new Ajv2020({ allErrors: true, strict: false });
const errorsOf = (schema: object, value: unknown): string[] => {
  ajv.validate(schema, value);
  return (ajv.errors ?? []).map(({ instancePath, message }) => `${instancePath} ${message}`);
};
const yamlOf = <T>(path: string): T => parse(read(path), { merge: true }) as T;

describe('the Dockerfile', () => {
  const lines = read(`${SAMPLE}/Dockerfile`).replaceAll('\\\n', ' ').split('\n');
  const of = (name: string) => lines.filter(line => line.startsWith(`${name} `));

  it('starts node itself, so that it gets the signals, and not as root', () => {
    expect(instruction('CMD')[0]).toBe('node');
    expect(instruction('HEALTHCHECK')[0]).toBe('node');
    const last = lines.slice(lines.findLastIndex(line => line.startsWith('FROM ')));
    expect(last).toContain('USER 1000:1000');
  });

  it('copies what is there, and what .dockerignore lets through', () => {
    const sources = of('COPY')
      .filter(line => !line.includes('--from='))
      .flatMap(line => line.split(' ').slice(1, -1));
    const ignored = read(`${SAMPLE}/Dockerfile.dockerignore`).split('\n');
    expect(ignored).toContain('*');
    for (const source of sources) {
      expect(existsSync(join(root, source)), source).toBe(true);
      expect(ignored).toContain(`!${source}`);
    }
  });

  it('starts programs that the sample application has', () => {
    for (const [, ...args] of [instruction('CMD'), instruction('HEALTHCHECK')]) {
      const program = args.at(-1)!.replace('/dist/', '/src/').replace(/\.js$/, '.ts');
      expect(existsSync(join(root, program)), program).toBe(true);
    }
  });
});

describe('the manifests of Kubernetes', () => {
  const files = readdirSync(join(root, KUBERNETES));
  const deployment = yamlOf<Deployment>(`${KUBERNETES}/deployment.yaml`);
  const pod = deployment.spec.template.spec;
  const [container] = pod.containers;

  it.each(files)('%s holds known fields alone', file => {
    const manifest = yamlOf<{ kind: string }>(`${KUBERNETES}/${file}`);
    expect(Object.keys(kubernetes)).toContain(manifest.kind);
    expect(errorsOf(kubernetes[manifest.kind]!, manifest)).toEqual([]);
  });

  it('would not hold unknown ones', () => {
    const wrong = structuredClone(deployment) as unknown as { spec: { replica: number } };
    wrong.spec.replica = 2;
    expect(errorsOf(kubernetes['Deployment']!, wrong)).toEqual(['/spec must NOT have additional properties']);
  });

  it('are listed by kustomize, but for what wants an operator', () => {
    const { resources } = yamlOf<{ resources: string[] }>(`${KUBERNETES}/kustomization.yaml`);
    expect([...resources, 'kustomization.yaml', 'service-monitor.yaml'].sort()).toEqual(files.sort());
  });

  it('select the pods of the deployment', () => {
    const labels = deployment.spec.template.metadata.labels;
    expect(deployment.spec.selector.matchLabels).toEqual(labels);
    expect(yamlOf<{ spec: { selector: object } }>(`${KUBERNETES}/service.yaml`).spec.selector).toEqual(
      labels,
    );
    const budget = yamlOf<{ spec: { selector: object } }>(`${KUBERNETES}/pod-disruption-budget.yaml`);
    expect(budget.spec.selector).toEqual({ matchLabels: labels });
  });

  it('ask the probes of the application on its port, and wait for its end', () => {
    expect(container!.livenessProbe.httpGet).toEqual({ path: '/health/live', port: 'http' });
    expect(container!.readinessProbe.httpGet).toEqual({ path: '/health/ready', port: 'http' });
    const settings = new Map(container!.env.map(({ name, value }) => [name, value]));
    expect(container!.ports).toEqual([{ name: 'http', containerPort: Number(settings.get('PORT')) }]);
    const { terminationGracePeriodSeconds } = pod;
    // Requests and sinks have 5 s after the delay.
    expect(terminationGracePeriodSeconds).toBeGreaterThan(
      Number(settings.get('SHUTDOWN_DELAY_MS')) / 1_000 + 5,
    );
    expect(container!.volumeMounts.map(({ name }) => name)).toEqual(pod.volumes.map(({ name }) => name));
  });
});

describe('compose.yaml', () => {
  const file = yamlOf<{ services: Record<string, Service>; volumes: object }>(`${SAMPLE}/compose.yaml`);
  const services = Object.entries(file.services);

  it('holds known fields alone', () => {
    expect(errorsOf(compose, file)).toEqual([]);
    expect(services.map(([name]) => name)).toEqual([
      'app',
      'consumer',
      'postgres',
      'redis',
      'nats',
      'prometheus',
      'grafana',
    ]);
  });

  it('waits for services that say when they are healthy', () => {
    for (const [name, { depends_on = {} }] of services) {
      const names = Array.isArray(depends_on) ? (depends_on as string[]) : Object.keys(depends_on);
      for (const other of names) expect(file.services, `of ${name}`).toHaveProperty(other);
      if (Array.isArray(depends_on)) continue;
      for (const other of names) expect(file.services[other]!.healthcheck, other).toBeDefined();
    }
  });

  it('mounts files that are there, and volumes that are declared', () => {
    for (const [, { volumes = [] }] of services) {
      for (const [source] of volumes.map(volume => volume.split(':') as [string])) {
        if (source.startsWith('.')) expect(existsSync(join(root, SAMPLE, source)), source).toBe(true);
        else expect(file.volumes).toHaveProperty(source);
      }
    }
  });

  it('has one data source of Grafana, which asks Prometheus, and the dashboard where it looks for it', () => {
    const provisioning = `${SAMPLE}/deploy/grafana/provisioning`;
    const { datasources } = yamlOf<{ datasources: { type: string; url: string; isDefault: boolean }[] }>(
      `${provisioning}/datasources/prometheus.yml`,
    );
    expect(datasources).toEqual([
      expect.objectContaining({ type: 'prometheus', url: 'http://prometheus:9090', isDefault: true }),
    ]);
    const { providers } = yamlOf<{ providers: { options: { path: string } }[] }>(
      `${provisioning}/dashboards/dashboards.yml`,
    );
    const target = file.services['grafana']!.volumes!.find(volume =>
      volume.includes('dashboard.json'),
    )!.split(':')[1]!;
    expect(target).toBe(`${providers[0]!.options.path}/dashboard.json`);
    expect(file.services['grafana']!.environment!['GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH']).toBe(target);
  });

  it.skipIf(!hasPrometheus)('gives Prometheus a configuration and rules that it takes', () => {
    const folder = mkdtempSync(join(tmpdir(), 'prometheus-'));
    copyFileSync(join(root, SAMPLE, 'deploy/prometheus.yml'), join(folder, 'prometheus.yml'));
    copyFileSync(join(root, 'docs/grafana/alerts.yml'), join(folder, 'alerts.yml'));
    const output = execFileSync('promtool', ['check', 'config', join(folder, 'prometheus.yml')], {
      encoding: 'utf8',
    });
    expect(output).toContain('SUCCESS');
    const { scrape_configs } = parse(readFileSync(join(folder, 'prometheus.yml'), 'utf8')) as {
      scrape_configs: { static_configs: { targets: string[] }[] }[];
    };
    expect(scrape_configs[0]!.static_configs[0]!.targets).toEqual(['app:3000']);
    rmSync(folder, { recursive: true });
  });
});
