// A process that answers what it is asked.
process.on('message', message => process.send!(message));
process.send!('ready');
process.on('disconnect', () => process.exit());
