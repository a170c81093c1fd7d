/* WebSocket clients of one relay, all on one epoll and one thread: connect, upgrade, frames. */
#ifndef WEBSOCKET_H
#define WEBSOCKET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct bytes {
    char *at;
    size_t size, room;
};

struct client {
    int index, fd;
    bool upgraded, dirty, waits_to_write;
    struct bytes in;    /* read, but not a whole frame yet */
    struct bytes parts; /* of a fragmented message */
    struct bytes out;   /* not written yet, from `written` on */
    size_t written;
};

/* One whole text message arrived; `text` is not terminated and lives until the return. */
typedef void (*message_handler)(struct client *from, const char *text, size_t size);

extern struct client *clients;
extern int client_count;
extern long connections_lost;

/* Where to connect, and who hears what arrives. */
void websocket_use(const char *host, const char *port, message_handler handler);

/* Open connections until there are `count`; room for `most` is made by the first call. */
void clients_open(int count, int most);

/* Queue a text message; it leaves at the end of this turn (or with clients_flush). */
void client_send(struct client *to, const char *text, size_t size);

/* Queue bytes that are a masked frame already. */
void client_send_frame(struct client *to, const char *frame, size_t size);

/* Append one masked text frame to `into`. */
void frame_append(struct bytes *into, int opcode, const char *payload, size_t size);

void clients_flush(void);

/* One turn: wait up to `wait_ms`, hand out messages, write what they queued. */
void clients_turn(int wait_ms);

void bytes_append(struct bytes *into, const char *from, size_t size);

/* Say why and end the program. */
void fail(const char *format, ...) __attribute__((noreturn, format(printf, 1, 2)));

uint64_t now_ns(void);

#endif
