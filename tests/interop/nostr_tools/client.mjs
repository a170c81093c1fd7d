// nostr-tools as a client of a relay: `node client.mjs STEP ARGUMENTS` runs one step with a JSON
// object of arguments and prints what it saw, as JSON, on its last line.

import { writeSync } from 'node:fs'
import { finalizeEvent, generateSecretKey, getPublicKey, verifyEvent } from 'nostr-tools/pure'
import { Relay, useWebSocketImplementation } from 'nostr-tools/relay'
import * as nip05 from 'nostr-tools/nip05'
import * as nip11 from 'nostr-tools/nip11'
import * as nip13 from 'nostr-tools/nip13'
import * as nip17 from 'nostr-tools/nip17'
import * as nip18 from 'nostr-tools/nip18'
import * as nip44 from 'nostr-tools/nip44'
import * as nip45 from 'nostr-tools/nip45'
import * as nip98 from 'nostr-tools/nip98'
// Its package does not list this one.
import * as nip77 from './node_modules/nostr-tools/lib/esm/nip77.js'

useWebSocketImplementation(WebSocket)

const now = () => Math.floor(Date.now() / 1000)
const bytes = hex => Uint8Array.from(Buffer.from(hex, 'hex'))

function signed(secret, fields = {}) {
  return finalizeEvent({ kind: 1, created_at: now(), tags: [], content: '', ...fields }, secret)
}

// The OK of an event: [accepted, reason].
async function publish(relay, event) {
  try {
    return [true, await relay.publish(event)]
  } catch (error) {
    return [false, error.message]
  }
}

// What is stored, or why the relay closed the subscription.
function stored(relay, ...filters) {
  return new Promise(resolve => {
    const events = []
    const sub = relay.subscribe(filters, {
      onevent: event => events.push(event),
      oneose: () => {
        resolve({ events })
        sub.close()
      },
      onclose: reason => resolve({ events, reason }),
    })
  })
}

const ids = found => found.events.map(event => event.id)

async function connected(url, ...secrets) {
  const relay = new Relay(url)
  const greeted = new Promise(resolve => {
    relay.onauth = template => new Promise(sign => resolve({ template, sign }))
  })
  await relay.connect()
  if (!secrets.length) {
    relay.onauth = undefined
    return relay
  }
  const { template, sign } = await greeted
  sign(finalizeEvent(template, secrets[0]))
  await relay.authPromise
  return relay
}

const STEPS = {
  async publish({ url, content }) {
    const relay = await connected(url)
    const secret = generateSecretKey()
    const event = signed(secret, { content, tags: [['t', 'fish'], ['e', '0'.repeat(64)]] })
    const first = await publish(relay, event)
    const again = await publish(relay, event)
    const spoiled = await publish(relay, { ...event, content: 'other' })
    const found = await stored(relay, { ids: [event.id] })
    const tagged = await stored(relay, { '#t': ['fish'], authors: [event.pubkey] })
    return { event, first, again, spoiled, found, tagged, holds: verifyEvent(found.events[0]) }
  },

  async subscribe({ url }) {
    const [reader, writer] = [await connected(url), await connected(url)]
    const secret = generateSecretKey()
    const old = signed(secret, { content: 'old', created_at: now() - 10 })
    await publish(writer, old)
    const heard = []
    await new Promise(resolve => {
      const sub = reader.subscribe([{ authors: [getPublicKey(secret)] }], {
        onevent: event => {
          heard.push(event.content)
          if (event.content === 'new') resolve(sub.close())
        },
        oneose: () => {
          heard.push('EOSE')
          publish(writer, signed(secret, { content: 'new' }))
        },
      })
    })
    return heard
  },

  async replaceable({ url }) {
    const relay = await connected(url)
    const secret = generateSecretKey()
    const lists = [30, 20, 10].map(age =>
      signed(secret, { kind: 10002, created_at: now() - age, tags: [['r', `wss://${age}.example`, 'read']] }),
    )
    const follows = signed(secret, { kind: 3, tags: [['p', getPublicKey(secret), 'wss://a.example', 'me']] })
    const told = []
    for (const event of [lists[0], lists[2], lists[1], follows]) told.push(await publish(relay, event))
    const found = await stored(relay, { authors: [getPublicKey(secret)], kinds: [3, 10002] })
    return { told, found: ids(found), wanted: [follows.id, lists[2].id] }
  },

  async deletion({ url }) {
    const relay = await connected(url)
    const secret = generateSecretKey()
    const note = signed(secret, { created_at: now() - 5 })
    const gone = signed(secret, { kind: 5, tags: [['e', note.id], ['k', '1']] })
    const told = []
    for (const event of [note, gone, note]) told.push(await publish(relay, event))
    return { told, found: ids(await stored(relay, { authors: [note.pubkey] })), gone: gone.id }
  },

  async count({ url, authors, target }) {
    const relay = await connected(url)
    for (let number = 0; number < authors; number++) {
      await publish(relay, signed(generateSecretKey(), { kind: 7, tags: [['e', target]], content: '+' }))
    }
    const filter = { kinds: [7], '#e': [target] }
    const { count, hll } = await relay.countWithHLL([filter], {})
    const own = nip45.newHll()
    const offset = nip45.computeOffset(nip45.getFilterFirstTagValue(filter))
    for (const event of (await stored(relay, filter)).events) nip45.feedEvent(own, event, offset)
    return { count, hll, own: nip45.hllEncode(own), estimate: nip45.estimateCount(nip45.hllDecode(hll)) }
  },

  async search({ url }) {
    const relay = await connected(url)
    const secret = generateSecretKey()
    const wanted = signed(secret, { content: 'A lighthouse above the harbour' })
    for (const event of [wanted, signed(secret, { content: 'A harbour' })]) await publish(relay, event)
    const found = await stored(relay, { search: 'harbour lighthouse language:en', kinds: [1] })
    return { found: ids(found), wanted: wanted.id }
  },

  async expiration({ url }) {
    const relay = await connected(url)
    const past = signed(generateSecretKey(), { tags: [['expiration', String(now() - 1)]] })
    const later = signed(generateSecretKey(), { tags: [['expiration', String(now() + 600)]] })
    return [await publish(relay, past), await publish(relay, later)]
  },

  async auth({ url }) {
    const secret = generateSecretKey()
    const stranger = await connected(url)
    const asked = { kinds: [1059], '#p': [getPublicKey(secret)] }
    const refused = await stored(stranger, asked)
    const own = signed(secret, { tags: [['-']], content: 'mine only' })
    const early = await publish(stranger, own)
    const relay = await connected(url, secret)
    const granted = await stored(relay, asked)
    const others = await publish(relay, signed(generateSecretKey(), { tags: [['-']] }))
    const kept = await publish(relay, own)
    // Its own repost leaves a protected event's text out; one who does not care is refused.
    const polite = nip18.finishRepostEvent({ created_at: now() }, own, url, generateSecretKey())
    const rude = signed(generateSecretKey(), { kind: 6, tags: polite.tags, content: JSON.stringify(own) })
    const reposts = [await publish(stranger, polite), await publish(stranger, rude)]
    return { refused, early, granted, others, kept, reposts }
  },

  async message({ url, text }) {
    const [from, to] = [generateSecretKey(), generateSecretKey()]
    const writer = await connected(url)
    const wrap = nip17.wrapEvent(from, { publicKey: getPublicKey(to) }, text)
    const told = await publish(writer, wrap)
    const asked = { kinds: [1059], ids: [wrap.id] }
    const spied = await stored(await connected(url, generateSecretKey()), asked)
    const found = await stored(await connected(url, to), asked)
    const read = nip17.unwrapEvent(found.events[0], to)
    return { told, spied: ids(spied), found: ids(found), wrap: wrap.id, text: read.content, from: read.pubkey === getPublicKey(from) }
  },

  async decrypt({ url, secret, author }) {
    const key = nip44.getConversationKey(bytes(secret), author)
    const found = await stored(await connected(url), { authors: [author] })
    return nip44.decrypt(found.events[0].content, key)
  },

  async information({ url }) {
    return await nip11.fetchRelayInformation(url)
  },

  async work({ url, bits }) {
    const relay = await connected(url)
    const secret = generateSecretKey()
    const template = { kind: 1, created_at: now(), tags: [], content: 'worked', pubkey: getPublicKey(secret) }
    const lazy = await publish(relay, signed(secret, { content: 'lazy' }))
    const mined = finalizeEvent(nip13.minePow(template, bits), secret)
    return { lazy, mined: await publish(relay, mined), bits: nip13.getPow(mined.id) }
  },

  async name({ url, address }) {
    // A domain's own port 443 is out of reach here: the path and the query are its own.
    const here = found => String(found).replace(/^https:\/\/[^/]+/, url)
    nip05.useFetchImplementation((found, options) => fetch(here(found), options))
    return await nip05.queryProfile(address)
  },

  async http({ url }) {
    const secret = generateSecretKey()
    const event = signed(secret, { content: 'by HTTP', tags: [['-']] })
    const post = async (body, sign) => {
      const headers = { 'Content-Type': 'application/json' }
      if (sign) headers.Authorization = await nip98.getToken(`${url}/events`, 'post', e => finalizeEvent(e, secret), true, sign)
      const answer = await fetch(`${url}/events`, { method: 'POST', headers, body: JSON.stringify(body) })
      return [answer.status, await answer.json()]
    }
    return { bare: await post(event), other: await post(event, { not: 'this' }), signed: await post(event, event), id: event.id }
  },

  async compare({ url, events }) {
    const relay = await connected(url)
    const storage = new nip77.NegentropyStorageVector()
    for (const event of events) storage.insert(event.created_at, event.id)
    storage.seal()
    const [have, need] = [[], []]
    await new Promise((resolve, reject) => {
      const sync = new nip77.NegentropySync(relay, storage, { kinds: [1] }, {
        onhave: id => have.push(id),
        onneed: id => need.push(id),
        onclose: reason => (reason ? reject(new Error(reason)) : resolve()),
      })
      sync.start()
    })
    const held = new Map(events.map(event => [event.id, event]))
    for (const id of have) await publish(relay, held.get(id))
    return { have, need, fetched: ids(await stored(relay, { ids: need })) }
  },

  async vanish({ url }) {
    const relay = await connected(url)
    const secret = generateSecretKey()
    const note = signed(secret, { created_at: now() - 5 })
    const request = signed(secret, { kind: 62, tags: [['relay', url]], content: 'forget me' })
    const told = []
    for (const event of [note, request, note]) told.push(await publish(relay, event))
    return { told, found: ids(await stored(relay, { ids: [note.id] })) }
  },

  async report({ url }) {
    const relay = await connected(url)
    const bad = getPublicKey(generateSecretKey())
    const good = await publish(relay, signed(generateSecretKey(), { kind: 1984, tags: [['p', bad, 'spam']] }))
    const empty = await publish(relay, signed(generateSecretKey(), { kind: 1984 }))
    return [good, empty]
  },
}

const [, , step, given] = process.argv
const result = await STEPS[step](JSON.parse(given))
// Written before we go: what is only queued for a pipe, `exit` throws away.
writeSync(1, `${JSON.stringify(result ?? null)}\n`)
process.exit(0)
