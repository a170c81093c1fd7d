/* One publisher, many subscribers to what it publishes: each event must reach each of them once.
 * The next event leaves when an earlier one has reached all, so that `window` are under way. */
#define _GNU_SOURCE
#include "measure.h"
#include "modes.h"
#include "nostr.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SILENCE_S = 30, SUBSCRIBING_AT_ONCE = 64 };

static int subscribers, window;
static long sent, completed, delivered, twice, odd, live, accepted;
static uint64_t *sent_ns, *latencies, *last_latencies;
static int *reached;     /* subscribers, by event */
static bool *delivery;   /* by event and subscriber */
static char complaint[300];

static void publish(void)
{
    while (sent < event_count && sent - completed < window) {
        sent_ns[sent] = now_ns();
        event_publish(&clients[subscribers], sent++);
    }
}

static void on_event(struct client *to, const char *text, size_t size)
{
    const char *at = memmem(text, size, "seq-", 4);
    long number = at != NULL && text + size - at >= 12 ? atol(at + 4) : -1;
    if (number < 0 || number >= sent || to->index >= subscribers) {
        odd++;
        return;
    }
    bool *mine = &delivery[number * subscribers + to->index];
    if (*mine) {
        twice++;
        return;
    }
    *mine = true;
    uint64_t taken = now_ns() - sent_ns[number];
    latencies[delivered++] = taken;
    if (++reached[number] == subscribers) {
        last_latencies[completed++] = taken;
        publish();
    }
}

static void on_message(struct client *from, const char *text, size_t size)
{
    const char *rest;
    if (is_message(text, size, "EVENT", &rest))
        on_event(from, text, size);
    else if (is_message(text, size, "EOSE", &rest))
        live++;
    else if (is_message(text, size, "OK", &rest) && memmem(text, size, "true", 4) != NULL)
        accepted++;
    else if (!is_message(text, size, "AUTH", &rest)) {
        odd++;
        snprintf(complaint, sizeof complaint, "%.*s", (int)(size < 290 ? size : 290), text);
    }
}

static void subscribe(const char *filter)
{
    for (int i = 0; i < subscribers; i++) {
        request(&clients[i], "live", filter, strlen(filter));
        if ((i + 1) % SUBSCRIBING_AT_ONCE == 0 || i == subscribers - 1) {
            uint64_t deadline = now_ns() + SILENCE_S * 1000000000ull;
            while (live < i + 1) {
                clients_turn(100);
                if (now_ns() > deadline)
                    fail("%ld of %d subscriptions were answered: %s", live, i + 1, complaint);
            }
        }
    }
}

static int report(long expected)
{
    report_begin("fanout");
    report_number("subscribers", subscribers);
    report_number("window", window);
    report_number("events", (double)event_count);
    report_number("accepted", (double)accepted);
    report_number("delivered", (double)delivered);
    report_number("missing", (double)(expected - delivered));
    report_number("twice", (double)twice);
    report_number("odd", (double)odd);
    report_latencies("delivery", latencies, delivered);
    report_latencies("last", last_latencies, completed);
    report_cost(delivered);
    report_end();
    if (complaint[0])
        fprintf(stderr, "loadgen: last odd answer: %s\n", complaint);
    return delivered == expected && twice == 0 && odd == 0 && connections_lost == 0 ? 0 : 1;
}

int fanout(const char *host, const char *port, int count, char **values)
{
    if (count != 4)
        fail("fanout SUBSCRIBERS WINDOW FILTER FILE");
    subscribers = atoi(values[0]);
    window = atoi(values[1]);
    events_load(values + 3, 1);
    size_t deliveries = (size_t)event_count * (size_t)subscribers;
    sent_ns = calloc((size_t)event_count, sizeof *sent_ns);
    last_latencies = calloc((size_t)event_count, sizeof *last_latencies);
    reached = calloc((size_t)event_count, sizeof *reached);
    latencies = calloc(deliveries, sizeof *latencies);
    delivery = calloc(deliveries, sizeof *delivery);
    websocket_use(host, port, on_message);
    clients_open(subscribers + 1, subscribers + 1);
    subscribe(values[2]);

    measure_begin();
    publish();
    clients_flush();
    long before = 0;
    uint64_t moved = now_ns();
    while (completed < event_count || accepted < event_count) {
        clients_turn(200);
        if (delivered + accepted != before) {
            before = delivered + accepted;
            moved = now_ns();
        } else if (now_ns() - moved > SILENCE_S * 1000000000ull) {
            fprintf(stderr, "loadgen: silence after %ld deliveries\n", delivered);
            break;
        }
    }
    measure_end();
    return report((long)deliveries);
}
