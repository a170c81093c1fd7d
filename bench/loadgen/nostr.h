/* What the runs share of Nostr: made events to publish, and reading the relay's messages. */
#ifndef NOSTR_H
#define NOSTR_H

#include "websocket.h"

struct event {
    uint64_t id; /* the first 8 of its 32 bytes */
    char *frame; /* ["EVENT", …] as a masked frame */
    size_t size;
};

extern struct event *events;
extern long event_count;

/* Read JSON events, one a line. */
void events_load(char **files, int count);

/* The event of that id, or -1. */
long event_find(uint64_t id);

void event_publish(struct client *by, long number);

/* Skip blanks, commas and colons. */
const char *skip(const char *at, const char *end);

/* Whether a message is `["WORD", …`; then `*rest` is what follows the word. */
bool is_message(const char *text, size_t size, const char *word, const char **rest);

/* The first 8 bytes of an id written in hex at `at`; false if there is none. */
bool read_id(const char *at, const char *end, uint64_t *id);

/* Send `REQ name filter`. */
void request(struct client *by, const char *name, const char *filter, size_t size);

#endif
