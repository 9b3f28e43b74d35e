const { ask } = require('./app');

test.each(['express', 'fastify'])('answers the id of its own request on %s', async platform => {
  const answers = await ask(platform, 8);
  for (const { body, header } of answers) {
    expect(header).toMatch(/^\S+$/);
    expect(body).toBe(header);
  }
  expect(new Set(answers.map(answer => answer.body)).size).toBe(answers.length);
});
