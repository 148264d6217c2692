// An echo peer on top of the npm package `ws`, told what to do line by line, as echo.py is.

const readline = require('node:readline');
const { WebSocket, WebSocketServer } = require('ws');

function parameters([serverNo, clientNo, serverBits, clientBits]) {
  const options = { threshold: 0 };
  // To be unset is not to be false, which would be to refuse it.
  if (serverNo === '1') options.serverNoContextTakeover = true;
  if (clientNo === '1') options.clientNoContextTakeover = true;
  if (serverBits !== '-') options.serverMaxWindowBits = Number(serverBits);
  if (clientBits !== '-') options.clientMaxWindowBits = Number(clientBits);
  return options;
}

function echo(ws) {
  ws.on('message', (data, isBinary) => {
    // Every other message in fragments.
    if (data.length % 2) {
      const third = Math.floor(data.length / 3);
      ws.send(data.subarray(0, third), { binary: isBinary, fin: false });
      ws.send(data.subarray(third), { binary: isBinary, fin: true });
    } else {
      ws.send(data, { binary: isBinary });
    }
  });
  ws.on('error', (error) => console.error(error));
}

let server;
readline.createInterface({ input: process.stdin }).on('line', (line) => {
  const [what, ...words] = line.split(' ');
  server?.close();
  server = undefined;
  if (what === 'serve') {
    const perMessageDeflate = parameters(words);
    server = new WebSocketServer({ host: '127.0.0.1', port: 0, perMessageDeflate, maxPayload: 0 });
    server.on('connection', echo);
    server.on('listening', () => console.log('port', server.address().port));
  } else {
    const ws = new WebSocket(words[0], { perMessageDeflate: parameters(words.slice(1)), maxPayload: 0 });
    echo(ws);
    ws.on('close', () => console.log('closed'));
  }
}).on('close', () => process.exit(0));
