// Node's net module, as its documentation uses it.
'use strict';

const fs = require('node:fs');
const net = require('node:net');

const [mode, wanted] = process.argv.slice(2);
const kept = [];
let sum = 0;
let start;
let used;

function drain(socket) {
  const address = socket.remoteAddress;
  sum += Number(address.slice(address.lastIndexOf('.') + 1)) * 65536 + socket.remotePort;
  kept.push(socket);
  if (kept.length === Number(wanted)) {
    const wall = process.hrtime.bigint() - start;
    // Microseconds: Node has no CLOCK_PROCESS_CPUTIME_ID.
    const { user, system } = process.cpuUsage(used);
    fs.writeSync(1, `drained ${wanted} ${wall} ${(user + system) * 1000} ${sum}\n`);
  }
}

function greet(socket) {
  socket.on('error', () => {});
  socket.end('hello, stranger\n');
}

function echo(socket) {
  socket.on('error', () => {});
  socket.pipe(socket);
}

const handlers = { drain, storm: greet, echo };
const server = net.createServer({ noDelay: mode === 'echo' }, handlers[mode]);

server.listen({ host: '127.0.0.1', port: 0, backlog: 65535 }, () => {
  fs.writeSync(1, `port ${server.address().port}\n`);
  if (mode === 'drain') {
    // Connections are accepted by the event loop, which stands still here until the line came.
    const byte = Buffer.alloc(1);
    while (fs.readSync(0, byte) === 1 && byte[0] !== 0x0a);
    start = process.hrtime.bigint();
    used = process.cpuUsage();
  }
  process.stdin.on('end', () => process.exit(0)).resume();
});
