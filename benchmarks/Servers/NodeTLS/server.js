// Node's tls module, as its documentation uses it: server.js echo CERTIFICATE KEY
'use strict';

const fs = require('node:fs');
const tls = require('node:tls');

const [, certificate, key] = process.argv.slice(2);
const options = { cert: fs.readFileSync(certificate), key: fs.readFileSync(key), noDelay: true };
const server = tls.createServer(options, (socket) => {
  socket.on('error', () => {});
  socket.pipe(socket);
});
server.on('tlsClientError', () => {});

server.listen({ host: '127.0.0.1', port: 0, backlog: 65535 }, () => {
  fs.writeSync(1, `port ${server.address().port}\n`);
  process.stdin.on('end', () => process.exit(0)).resume();
});
