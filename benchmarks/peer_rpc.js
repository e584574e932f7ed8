// npm ocpp-rpc in strict mode with empty handlers and no storage, for the ingest benchmark.
// Run from a folder that has the package: node peer_rpc.js; prints "ready PORT".
const { createRequire } = require("module");
const { RPCServer } = createRequire(process.argv[2] + "/")("ocpp-rpc");

const now = () => new Date().toISOString();
const accepted = { status: "Accepted" };
const answers = {
  BootNotification: () => ({ ...accepted, currentTime: now(), interval: 300 }),
  Heartbeat: () => ({ currentTime: now() }),
  StatusNotification: () => ({}),
  StartTransaction: () => ({ transactionId: 1, idTagInfo: accepted }),
  MeterValues: () => ({}),
  StopTransaction: () => ({}),
  TransactionEvent: () => ({}),
};
const server = new RPCServer({ protocols: ["ocpp1.6", "ocpp2.0.1"], strictMode: true });
server.auth((accept) => accept());
server.on("client", (client) => {
  for (const [method, answer] of Object.entries(answers)) client.handle(method, answer);
  client.handle("Authorize", () =>
    client.protocol === "ocpp1.6" ? { idTagInfo: accepted } : { idTokenInfo: accepted });
});
server.listen(0, "127.0.0.1").then((http) => console.log("ready", http.address().port));
