// A charge point made of npm ocpp-rpc in strict mode: it checks every payload of ours against
// the schemas in both directions. Prints one JSON object; exits 0 when nothing was objected to.
const { RPCClient } = require("ocpp-rpc");

const [endpoint, identity, password, version] = process.argv.slice(2);
const protocol = version === "1.6" ? "ocpp1.6" : "ocpp2.0.1";
const client = new RPCClient({
  endpoint,
  identity,
  password,
  protocols: [protocol],
  strictMode: true,
  reconnect: false,
});
const seen = { objections: [], asked: [], answers: {} };
client.on("strictValidationFailure", (event) =>
  seen.objections.push({ method: event.method, why: String(event.error) }));
client.on("badMessage", (event) => seen.objections.push({ why: String(event.error) }));

const at = (minutes) => new Date(Date.now() + minutes * 60000).toISOString();

async function call(method, params) {
  seen.answers[method] = await client.call(method, params);
  return seen.answers[method];
}

async function charge16() {
  await call("BootNotification", { chargePointVendor: "Strict", chargePointModel: "rpc" });
  await call("Heartbeat", {});
  const status = (word) => call("StatusNotification", {
    connectorId: 1, errorCode: "NoError", status: word, timestamp: at(0) });
  for (const word of ["Available", "Preparing"]) await status(word);
  await call("Authorize", { idTag: "TAG" });
  const start = await call("StartTransaction", {
    connectorId: 1, idTag: "TAG", meterStart: 1000, timestamp: at(-60) });
  await status("Charging");
  for (const [minutes, wh] of [[-40, "1500"], [-20, "2500"]])
    await call("MeterValues", {
      connectorId: 1,
      transactionId: start.transactionId,
      meterValue: [{ timestamp: at(minutes), sampledValue: [{ value: wh, unit: "Wh" }] }],
    });
  await call("StopTransaction", {
    transactionId: start.transactionId, idTag: "TAG", meterStop: 3000, timestamp: at(-1),
    reason: "Local" });
  await status("Available");
  await call("DataTransfer", { vendorId: "nobody" });
}

async function charge201() {
  await call("BootNotification", {
    reason: "PowerUp", chargingStation: { model: "rpc", vendorName: "Strict" } });
  await call("Heartbeat", {});
  const status = (word) => call("StatusNotification", {
    timestamp: at(0), connectorStatus: word, evseId: 1, connectorId: 1 });
  await status("Available");
  const idToken = { idToken: "TAG", type: "ISO14443" };
  await call("Authorize", { idToken });
  let seqNo = 0;
  const event = (eventType, triggerReason, minutes, wh, more = {}) => call("TransactionEvent", {
    eventType, triggerReason, timestamp: at(minutes), seqNo: seqNo++,
    transactionInfo: { transactionId: "strict-1" },
    meterValue: [{ timestamp: at(minutes), sampledValue: [{ value: wh }] }],
    ...more,
  });
  await event("Started", "Authorized", -60, 1000, { evse: { id: 1, connectorId: 1 }, idToken });
  await status("Occupied");
  await event("Updated", "MeterValuePeriodic", -30, 2000);
  await event("Ended", "EVDeparted", -1, 3000, {
    transactionInfo: { transactionId: "strict-1", stoppedReason: "Local" } });
  await status("Available");
  await call("DataTransfer", { vendorId: "nobody" });
}

async function main() {
  client.handle(({ method, params }) => {
    seen.asked.push({ method, params });
    if (method === "GetConfiguration") return { configurationKey: [], unknownKey: [] };
    if (method === "GetVariables")
      return { getVariableResult: params.getVariableData.map((wanted) => ({
        ...wanted, attributeStatus: "Accepted", attributeValue: "1" })) };
    return { status: method === "UnlockConnector" ? "Unlocked" : "Accepted" };
  });
  await client.connect();
  await (version === "1.6" ? charge16() : charge201());
  // Time for what the test wants to ask.
  process.stdout.write("charged\n");
  await new Promise((resolve) => process.stdin.once("data", resolve));
  await client.close();
  process.stdout.write(JSON.stringify(seen) + "\n");
  process.exit(seen.objections.length ? 1 : 0);
}

main().catch((error) => {
  process.stdout.write(JSON.stringify({ ...seen, error: String(error), details: error }) + "\n");
  process.exit(2);
});
