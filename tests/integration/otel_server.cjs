// A server that knows nothing of us: OpenTelemetry's registration module alone makes it report its requests.
// Argument: port. GET /answer/STATUS is answered with that status.
const http = require("node:http");

const server = http.createServer((request, response) => {
  response.statusCode = Number(request.url.split("/")[2]);
  setTimeout(() => response.end("ok"), 5);
});
server.listen(Number(process.argv[2]), "127.0.0.1");
