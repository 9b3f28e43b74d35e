// Starts the agent that the settings name, which sends to a collector on this machine alone.
const { agent, collector } = JSON.parse(process.argv[2]);
const { port } = new URL(collector);

const START = {
  'dd-trace': () => {
    process.env.DD_INSTRUMENTATION_TELEMETRY_ENABLED = 'false';
    process.env.DD_REMOTE_CONFIGURATION_ENABLED = 'false';
    require('dd-trace').init({ url: collector, flushInterval: 20 });
  },
  '@sentry/node': () => {
    require('@sentry/node').init({ dsn: `http://public@127.0.0.1:${port}/1`, tracesSampleRate: 1 });
  },
  'elastic-apm-node': () => {
    const options = { serviceName: 'test', serverUrl: collector, cloudProvider: 'none', logLevel: 'off' };
    require('elastic-apm-node').start({ ...options, centralConfig: false, apiRequestTime: '1s' });
  },
  '@opentelemetry/auto-instrumentations-node': () => {
    process.env.OTEL_EXPORTER_OTLP_ENDPOINT = collector;
    process.env.OTEL_BSP_SCHEDULE_DELAY = '20';
    process.env.OTEL_METRICS_EXPORTER = 'none';
    process.env.OTEL_LOGS_EXPORTER = 'none';
    process.env.OTEL_NODE_RESOURCE_DETECTORS = 'none';
    require('@opentelemetry/auto-instrumentations-node/register');
  },
  newrelic: () => {
    process.env.NEW_RELIC_APP_NAME = 'test';
    process.env.NEW_RELIC_LICENSE_KEY = 'a'.repeat(40);
    process.env.NEW_RELIC_HOST = '127.0.0.1';
    process.env.NEW_RELIC_PORT = port;
    process.env.NEW_RELIC_LOG_ENABLED = 'false';
    for (const cloud of ['AWS', 'AZURE', 'AZUREFUNCTION', 'GCP', 'PCF', 'DOCKER', 'KUBERNETES']) {
      process.env[`NEW_RELIC_UTILIZATION_DETECT_${cloud}`] = 'false';
    }
    require('newrelic');
  },
};
START[agent]();
