// Submits a task and prints what its agent says, live, until it ends.
//
//   node examples/client.mjs "Write a haiku about durability into haiku.txt"
//
// The same code runs in a browser. Node has WebSocket built in from version 22; for 20 and 21 start it with
// `node --experimental-websocket`.

const url = process.env.OPENCODE_URL ?? "ws://localhost:8080/ws";
const description = process.argv.slice(2).join(" ") || "Say hello";
const id = `example-${crypto.randomUUID().slice(0, 8)}`;
const socket = new WebSocket(url);

const send = (message) => socket.send(JSON.stringify(message));
const end = (code) => {
  process.exitCode = code;
  socket.close();
};

socket.onopen = () => {
  send({
    type: "subscribe_to_updates",
    channels: ["task_status", "log_entries"],
    filters: { task_status: { task_ids: [id] }, log_entries: { agents: [id] } },
  });
  send({ type: "start_task", task: { id, type: "writing", priority: "high", description } });
};

socket.onmessage = ({ data }) => {
  const message = JSON.parse(data);
  if (message.type === "error") {
    console.error(`${message.code}: ${message.message}`);
    end(2);
  } else if (message.type === "log_entry") {
    console.log(`${message.log.level.padEnd(5)} ${message.log.message}`);
  } else if (message.type === "task_status_update") {
    console.log(`----- ${message.new_status} ${message.progress} %`);
    if (["completed", "failed", "cancelled"].includes(message.new_status)) {
      end(message.new_status === "completed" ? 0 : 1);
    }
  }
};

socket.onerror = () => {
  console.error(`no connection to ${url}: is the server running?`);
  end(3);
};
