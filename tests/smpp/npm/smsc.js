// An SMSC made of npm's smpp: node smsc.js PORT DELAY_MS PASSWORD MODULES. Each message is a line on stdout, and then a receipt, after
// the answer or before it ("early"); a line on stdin is a message of a consumer: {"from", "to", "text"}.
const [port, delay, password, modules] = process.argv.slice(2);
const smpp = require(modules + '/smpp');
const say = (what) => process.stdout.write(JSON.stringify(what) + '\n');
let bound = null, last = 0;

smpp.createServer({}, (session) => {
  session.on('error', () => {});
  session.on('bind_transceiver', (pdu) => {
    const ok = pdu.system_id === 'dcbridge' && pdu.password === password;
    session.send(pdu.response({command_status: ok ? 0 : smpp.ESME_RINVPASWD}));
    if (!ok) return session.close();
    bound = session;
    say({bound: pdu.system_id});
  });
  session.on('submit_sm', (pdu) => {
    const id = String(1000000 + ++last), {message, udh} = pdu.short_message;
    say({id, from: pdu.source_addr, to: pdu.destination_addr, text: String(message), coding: pdu.data_coding,
      piece: udh ? [...udh[0]].slice(-2).reverse() : null});
    const answer = () => session.send(pdu.response({message_id: id}));
    const receipt = () => session.deliver_sm({
      source_addr: pdu.destination_addr, destination_addr: pdu.source_addr, esm_class: 4, short_message:
        `id:${Number(id).toString(16)} sub:001 dlvrd:001 submit date:2611261200 done date:2611261200 stat:DELIVRD err:000 text:`,
    }, (resp) => say({answered: resp.command_status}));
    if (String(message).startsWith('early')) { receipt(); setTimeout(answer, 200); return; }
    setTimeout(() => { answer(); receipt(); }, Number(delay));
  });
  session.on('enquire_link', (pdu) => session.send(pdu.response()));
  session.on('unbind', (pdu) => { session.send(pdu.response()); session.close(); say({unbound: true}); });
}).listen(Number(port), '127.0.0.1', () => say({ready: true}));

require('readline').createInterface({input: process.stdin}).on('line', (line) => {
  const {from, to, text} = JSON.parse(line);
  bound.deliver_sm({source_addr: from, destination_addr: to, short_message: text}, (resp) => say({answered: resp.command_status}));
});
