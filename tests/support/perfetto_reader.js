// Perfetto's reader, written for a web worker, run by Node.js: requests come on stdin, answers go to stdout.
'use strict';
const fs = require('node:fs');
const path = require('node:path');
const vm = require('node:vm');

const folder = process.argv[2];
const log = (...words) => process.stderr.write(words.join(' ') + '\n');

class XMLHttpRequest {
  open(_method, url) { this.file = path.join(folder, path.basename(String(url))); }
  send() { const content = fs.readFileSync(this.file); this.response = new Uint8Array(content).buffer; }
}

const worker = vm.createContext({
  XMLHttpRequest, WorkerGlobalScope: class {}, location: {href: 'http://localhost/engine_bundle.js'}, URL, TextDecoder,
  performance, crypto, setTimeout, console: {log, warn: log, error: log},
});
worker.self = worker;
vm.runInContext(fs.readFileSync(path.join(folder, 'engine_bundle.js'), 'utf8'), worker);

const port = {postMessage: answer => fs.writeSync(1, answer)};
setImmediate(() => {
  worker.onmessage({data: port});
  worker.requests = fs.readFileSync(0);
  port.onmessage({data: vm.runInContext('new Uint8Array(requests)', worker)});
});
