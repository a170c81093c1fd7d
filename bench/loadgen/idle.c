/* Connections that hold one subscription and say nothing: what each costs in memory and CPU. */
#include "measure.h"
#include "modes.h"
#include "nostr.h"

#include <stdlib.h>
#include <string.h>

/* Before the first figure: the server's own first-time costs are not a connection's. */
enum { WARM = 64, SILENCE_S = 60, SETTLE_S = 1 };

static long live, odd;

static void on_message(struct client *from, const char *text, size_t size)
{
    const char *rest;
    (void)from;
    if (is_message(text, size, "EOSE", &rest))
        live++;
    else if (!is_message(text, size, "AUTH", &rest))
        odd++;
}

static void turn_for(int seconds)
{
    uint64_t end = now_ns() + (uint64_t)seconds * 1000000000u;
    while (now_ns() < end)
        clients_turn(50);
}

/* Open and subscribe in steps, so that no backlog overflows. */
static void open_to(int count, int most, const char *filter)
{
    uint64_t deadline = now_ns() + SILENCE_S * 1000000000ull;
    while (client_count < count) {
        int first = client_count;
        clients_open(first + WARM < count ? first + WARM : count, most);
        for (int i = first; i < client_count; i++)
            request(&clients[i], "idle", filter, strlen(filter));
        clients_flush();
        while (live + odd < client_count) {
            clients_turn(100);
            if (now_ns() > deadline)
                fail("%ld of %d subscriptions were answered", live, client_count);
        }
    }
}

int idle(const char *host, const char *port, int count, char **values)
{
    if (count != 2)
        fail("idle CONNECTIONS FILTER");
    int most = atoi(values[0]);
    websocket_use(host, port, on_message);
    open_to(WARM, most, values[1]);
    turn_for(SETTLE_S);
    long before_kib = server_anon_kib();
    int measured = most - WARM;

    measure_begin();
    open_to(most, most, values[1]);
    turn_for(SETTLE_S);
    measure_end();

    report_begin("idle");
    report_number("connections", most);
    report_number("subscribed", (double)live);
    report_number("odd", (double)odd);
    report_number("anon_kib_each", (double)(server_anon_kib() - before_kib) / measured);
    report_cost(measured);
    report_end();
    return live == most && odd == 0 && connections_lost == 0 ? 0 : 1;
}
