/* Ask prepared filters, one at a time on each connection, for a while. Every answer's number of
 * events and the xor of their ids must be the expected ones. */
#define _GNU_SOURCE
#include "measure.h"
#include "modes.h"
#include "nostr.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SILENCE_S = 30, LATENCIES_MAX = 1 << 20, SHOWN_MAX = 3 };

struct question {
    char *filter;
    size_t size;
    long expected;
    uint64_t expected_xor;
};

struct asked {
    long question, got;
    uint64_t xor, since_ns;
};

static struct question *questions;
static long question_count, asked_count, answers, wrong, events_got;
static double bytes_got;
static struct asked *asked; /* of each connection */
static uint64_t *latencies;
static uint64_t until_ns;

/* Lines of `class, filter, count, xor`, by tab; those of one class. */
static void load(const char *path, const char *wanted)
{
    char *line = NULL;
    size_t room = 0;
    FILE *file = fopen(path, "r");
    if (file == NULL)
        fail("%s: %s", path, strerror(errno));
    while (getline(&line, &room, file) > 0) {
        char *rest = line;
        char *class = strsep(&rest, "\t"), *filter = strsep(&rest, "\t");
        char *count = strsep(&rest, "\t"), *xor = rest;
        if (xor == NULL || strcmp(class, wanted) != 0)
            continue;
        questions = realloc(questions, (size_t)(question_count + 1) * sizeof *questions);
        if (questions == NULL)
            fail("out of memory");
        questions[question_count++] = (struct question){
            strdup(filter), strlen(filter), atol(count), strtoull(xor, NULL, 16)};
    }
    fclose(file);
    free(line);
    if (question_count == 0)
        fail("%s has no queries of class %s", path, wanted);
}

static void ask(struct client *by)
{
    struct asked *mine = &asked[by->index];
    uint64_t now = now_ns();
    if (now >= until_ns)
        return;
    *mine = (struct asked){asked_count++ % question_count, 0, 0, now};
    request(by, "q", questions[mine->question].filter, questions[mine->question].size);
}

static void on_event(struct client *from, const char *text, size_t size, const char *at)
{
    struct asked *mine = &asked[from->index];
    const char *end = text + size;
    uint64_t id = 0;
    /* A tag may be called "id" too; only a field's name is followed by a colon and a value. */
    while ((at = memmem(at, end - at, "\"id\"", 4)) != NULL) {
        at += 4;
        if (at < end && skip(at, end) > at && read_id(skip(at, end), end, &id))
            break;
    }
    mine->xor ^= id;
    mine->got++;
    events_got++;
}

static void on_end(struct client *from, bool whole)
{
    struct asked *mine = &asked[from->index];
    struct question *was = &questions[mine->question];
    if (answers < LATENCIES_MAX)
        latencies[answers] = now_ns() - mine->since_ns;
    answers++;
    if (!whole || mine->got != was->expected || mine->xor != was->expected_xor) {
        if (wrong++ < SHOWN_MAX)
            fprintf(stderr, "loadgen: wrong answer: %ld events of %ld%s to %.200s\n", mine->got,
                    was->expected, mine->xor == was->expected_xor ? "" : ", other ids",
                    was->filter);
    }
    client_send(from, "[\"CLOSE\",\"q\"]", 13);
    ask(from);
}

static void on_message(struct client *from, const char *text, size_t size)
{
    const char *rest;
    bytes_got += (double)size;
    if (is_message(text, size, "EVENT", &rest))
        on_event(from, text, size, rest);
    else if (is_message(text, size, "EOSE", &rest))
        on_end(from, true);
    else if (is_message(text, size, "AUTH", &rest))
        return;
    else {
        fprintf(stderr, "loadgen: odd answer: %.*s\n", (int)(size < 200 ? size : 200), text);
        if (is_message(text, size, "CLOSED", &rest))
            on_end(from, false);
        else if (++wrong > 50)
            fail("too many odd answers");
    }
}

int query(const char *host, const char *port, int count, char **values)
{
    if (count != 4)
        fail("query FILE CLASS CONNECTIONS SECONDS");
    int connections = atoi(values[2]);
    load(values[0], values[1]);
    asked = calloc((size_t)connections, sizeof *asked);
    latencies = calloc(LATENCIES_MAX, sizeof *latencies);
    websocket_use(host, port, on_message);
    clients_open(connections, connections);

    measure_begin();
    until_ns = now_ns() + (uint64_t)(atof(values[3]) * 1e9);
    for (int i = 0; i < connections; i++)
        ask(&clients[i]);
    clients_flush();
    long before = 0;
    uint64_t moved = now_ns();
    while (answers < asked_count) {
        clients_turn(200);
        if (answers != before) {
            before = answers;
            moved = now_ns();
        } else if (now_ns() - moved > SILENCE_S * 1000000000ull)
            fail("silence after %ld of %ld answers", answers, asked_count);
    }
    measure_end();

    report_begin("query");
    report_number("connections", connections);
    report_number("answers", (double)answers);
    report_number("wrong", (double)wrong);
    report_number("events_each", (double)events_got / (double)answers);
    report_number("mb_per_s", bytes_got / measure_elapsed_s() / 1e6);
    report_latencies("answer", latencies, answers < LATENCIES_MAX ? answers : LATENCIES_MAX);
    report_cost(answers);
    report_end();
    return wrong == 0 && connections_lost == 0 ? 0 : 1;
}
