/* Publish events over some connections, a window of them unanswered on each; every OK is matched
 * to its event. Optionally other connections hold open subscriptions that match none of it. */
#define _GNU_SOURCE
#include "measure.h"
#include "modes.h"
#include "nostr.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SUBSCRIPTIONS_EACH = 50, SILENCE_S = 30 };

static long *next; /* of each connection */
static int publishers, window;
static uint64_t *sent_ns, *latencies;
static bool *answered;
static long accepted, refused, odd, live;
static char complaint[300];

static void publish_next(struct client *by)
{
    if (next[by->index] < event_count) {
        sent_ns[next[by->index]] = now_ns();
        event_publish(by, next[by->index]);
        next[by->index] += publishers;
    }
}

static void complain(const char *text, size_t size)
{
    snprintf(complaint, sizeof complaint, "%.*s", (int)(size < 290 ? size : 290), text);
}

static void on_ok(struct client *from, const char *text, size_t size, const char *at)
{
    const char *end = text + size;
    uint64_t id;
    long number = read_id(at, end, &id) ? event_find(id) : -1;
    if (number < 0 || answered[number] || end - at < 70) {
        odd++;
        complain(text, size);
        return;
    }
    answered[number] = true;
    latencies[accepted + refused] = now_ns() - sent_ns[number];
    at = skip(at + 66, end);
    if (end - at >= 4 && memcmp(at, "true", 4) == 0 && memmem(at, end - at, "duplicate", 9) == NULL)
        accepted++;
    else {
        refused++;
        complain(text, size);
    }
    publish_next(from);
}

static void on_message(struct client *from, const char *text, size_t size)
{
    const char *rest;
    if (is_message(text, size, "OK", &rest))
        on_ok(from, text, size, rest);
    else if (is_message(text, size, "EOSE", &rest))
        live++;
    else if (!is_message(text, size, "AUTH", &rest)) {
        odd++;
        complain(text, size);
    }
}

/* Subscriptions by author, recipient, topic and kind, in turn; none names what is published. */
static void subscribe(int count)
{
    for (int i = 0; i < count; i++) {
        char name[32], filter[256];
        unsigned long long other = 0xfeed000000000000ull + (unsigned long long)i;
        switch (i % 4) {
        case 0:
            snprintf(filter, sizeof filter, "{\"authors\":[\"%064llx\"],\"kinds\":[1]}", other);
            break;
        case 1:
            snprintf(filter, sizeof filter, "{\"#p\":[\"%064llx\"],\"kinds\":[1,7]}", other);
            break;
        case 2:
            snprintf(filter, sizeof filter, "{\"#t\":[\"elsewhere%d\"]}", i);
            break;
        default:
            snprintf(filter, sizeof filter, "{\"kinds\":[%d],\"#d\":[\"x%d\"]}", 30000 + i % 5000,
                     i);
        }
        snprintf(name, sizeof name, "s%d", i);
        request(&clients[publishers + i / SUBSCRIPTIONS_EACH], name, filter, strlen(filter));
        if (i % 256 == 255 || i == count - 1) {
            uint64_t deadline = now_ns() + SILENCE_S * 1000000000ull;
            while (live < i + 1) {
                clients_turn(100);
                if (now_ns() > deadline)
                    fail("%ld of %d subscriptions were answered: %s", live, i + 1, complaint);
            }
        }
    }
}

static int report(int subscriptions)
{
    report_begin("ingest");
    report_number("connections", publishers);
    report_number("window", window);
    report_number("subscriptions", subscriptions);
    report_number("events", (double)event_count);
    report_number("accepted", (double)accepted);
    report_number("refused", (double)refused);
    report_number("odd", (double)odd);
    report_latencies("ok", latencies, accepted + refused);
    report_cost(accepted);
    report_number("anon_kib", (double)server_anon_kib());
    report_end();
    if (complaint[0])
        fprintf(stderr, "loadgen: last odd answer: %s\n", complaint);
    return accepted == event_count && odd == 0 && connections_lost == 0 ? 0 : 1;
}

int ingest(const char *host, const char *port, int count, char **values)
{
    if (count < 4)
        fail("ingest CONNECTIONS WINDOW SUBSCRIPTIONS FILE…");
    publishers = atoi(values[0]);
    window = atoi(values[1]);
    int subscriptions = atoi(values[2]);
    int holders = (subscriptions + SUBSCRIPTIONS_EACH - 1) / SUBSCRIPTIONS_EACH;
    events_load(values + 3, count - 3);
    next = calloc((size_t)publishers, sizeof *next);
    sent_ns = calloc((size_t)event_count, sizeof *sent_ns);
    latencies = calloc((size_t)event_count, sizeof *latencies);
    answered = calloc((size_t)event_count, sizeof *answered);
    websocket_use(host, port, on_message);
    clients_open(publishers + holders, publishers + holders);
    subscribe(subscriptions);

    measure_begin();
    for (int i = 0; i < publishers; i++) {
        next[i] = i;
        for (int j = 0; j < window; j++)
            publish_next(&clients[i]);
    }
    clients_flush();
    long before = 0;
    uint64_t moved = now_ns();
    while (accepted + refused < event_count) {
        clients_turn(200);
        if (accepted + refused != before) {
            before = accepted + refused;
            moved = now_ns();
        } else if (now_ns() - moved > SILENCE_S * 1000000000ull) {
            fprintf(stderr, "loadgen: silence after %ld answers\n", before);
            break;
        }
    }
    measure_end();
    measure_rest();
    return report(subscriptions);
}
