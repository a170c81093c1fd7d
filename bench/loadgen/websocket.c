#define _GNU_SOURCE
#include "websocket.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { OPENING_AT_ONCE = 64, HANDSHAKE_S = 60, READ_ROOM = 256 * 1024, LOST_MAX = 5 };
enum { CONTINUATION = 0, TEXT = 1, CLOSE = 8, PING = 9, PONG = 10 };

struct client *clients;
int client_count;
long connections_lost;

static const char *server_host, *server_port;
static struct addrinfo *server;
static message_handler handle;
static int poller = -1;
static struct client **dirty; /* clients with something queued in this turn */
static int dirty_count;
static char *scratch;

void fail(const char *format, ...)
{
    va_list values;
    va_start(values, format);
    fprintf(stderr, "loadgen: ");
    vfprintf(stderr, format, values);
    fprintf(stderr, "\n");
    va_end(values);
    exit(1);
}

uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

void bytes_append(struct bytes *into, const char *from, size_t size)
{
    if (size == 0)
        return;
    if (into->size + size > into->room) {
        size_t room = into->room ? into->room : 256;
        while (room < into->size + size)
            room *= 2;
        into->at = realloc(into->at, room);
        if (into->at == NULL)
            fail("out of memory");
        into->room = room;
    }
    memcpy(into->at + into->size, from, size);
    into->size += size;
}

static void bytes_drop(struct bytes *from, size_t size)
{
    memmove(from->at, from->at + size, from->size - size);
    from->size -= size;
    if (from->size == 0 && from->room > 65536) {
        free(from->at);
        *from = (struct bytes){0};
    }
}

/* --- writing -------------------------------------------------------------------------------- */

void frame_append(struct bytes *into, int opcode, const char *payload, size_t size)
{
    static const unsigned char mask[4] = {0x5a, 0xc3, 0x17, 0x8e};
    unsigned char head[14] = {(unsigned char)(0x80 | opcode)};
    size_t used = 2;
    if (size < 126) {
        head[1] = (unsigned char)(0x80 | size);
    } else if (size < 65536) {
        head[1] = 0x80 | 126;
        head[2] = (unsigned char)(size >> 8);
        head[3] = (unsigned char)size;
        used = 4;
    } else {
        head[1] = 0x80 | 127;
        for (int i = 0; i < 8; i++)
            head[2 + i] = (unsigned char)((uint64_t)size >> (56 - 8 * i));
        used = 10;
    }
    memcpy(head + used, mask, 4);
    bytes_append(into, (const char *)head, used + 4);
    size_t start = into->size;
    bytes_append(into, payload, size);
    for (size_t i = 0; i < size; i++)
        into->at[start + i] ^= (char)mask[i & 3];
}

static void mark_dirty(struct client *c)
{
    if (!c->dirty) {
        c->dirty = true;
        dirty[dirty_count++] = c;
    }
}

void client_send(struct client *to, const char *text, size_t size)
{
    frame_append(&to->out, TEXT, text, size);
    mark_dirty(to);
}

void client_send_frame(struct client *to, const char *frame, size_t size)
{
    bytes_append(&to->out, frame, size);
    mark_dirty(to);
}

static void wait_to_write(struct client *c, bool wanted)
{
    if (c->waits_to_write == wanted)
        return;
    c->waits_to_write = wanted;
    struct epoll_event event = {.events = EPOLLIN | (wanted ? EPOLLOUT : 0), .data.ptr = c};
    epoll_ctl(poller, EPOLL_CTL_MOD, c->fd, &event);
}

static void lost(struct client *c, const char *why)
{
    fprintf(stderr, "loadgen: connection %d ended: %s\n", c->index, why);
    epoll_ctl(poller, EPOLL_CTL_DEL, c->fd, NULL);
    close(c->fd);
    c->fd = -1;
    if (++connections_lost > LOST_MAX)
        fail("too many connections ended");
}

static void write_out(struct client *c)
{
    while (c->fd >= 0 && c->written < c->out.size) {
        ssize_t sent = send(c->fd, c->out.at + c->written, c->out.size - c->written, MSG_NOSIGNAL);
        if (sent < 0 && (errno == EAGAIN || errno == EINTR)) {
            wait_to_write(c, true);
            return;
        }
        if (sent < 0) {
            lost(c, strerror(errno));
            return;
        }
        c->written += (size_t)sent;
    }
    c->out.size = c->written = 0;
    if (c->fd >= 0)
        wait_to_write(c, false);
}

void clients_flush(void)
{
    for (int i = 0; i < dirty_count; i++) {
        dirty[i]->dirty = false;
        if (!dirty[i]->waits_to_write)
            write_out(dirty[i]);
    }
    dirty_count = 0;
}

/* --- reading -------------------------------------------------------------------------------- */

static void take_frame(struct client *c, unsigned char first, const char *payload, size_t size)
{
    bool final = first & 0x80;
    int opcode = first & 0x0f;
    if (opcode == CLOSE) {
        fprintf(stderr, "loadgen: closed by the relay: %.*s\n", size > 2 ? (int)size - 2 : 0,
                payload + 2);
    } else if (opcode == PING) {
        frame_append(&c->out, PONG, payload, size);
        mark_dirty(c);
    } else if (opcode == TEXT && final) {
        handle(c, payload, size);
    } else if (opcode == TEXT || opcode == CONTINUATION) {
        bytes_append(&c->parts, payload, size);
        if (final) {
            handle(c, c->parts.at, c->parts.size);
            c->parts.size = 0;
        }
    }
}

/* Handle all whole frames of `data`; how many bytes they were. */
static size_t take_frames(struct client *c, const char *data, size_t size)
{
    size_t at = 0;
    while (size - at >= 2) {
        const unsigned char *head = (const unsigned char *)data + at;
        size_t payload = head[1] & 0x7f, used = payload < 126 ? 2 : payload == 126 ? 4 : 10;
        if (head[0] & 0x70 || head[1] & 0x80)
            fail("the relay sent a frame with reserved bits or a mask");
        if (size - at < used)
            break;
        if (used > 2) {
            payload = 0;
            for (size_t i = 2; i < used; i++)
                payload = payload << 8 | head[i];
        }
        if (size - at - used < payload)
            break;
        take_frame(c, head[0], (const char *)head + used, payload);
        at += used + payload;
    }
    return at;
}

/* Handle the answer to the upgrade, then frames; how many bytes were used. */
static size_t take(struct client *c, const char *data, size_t size)
{
    size_t answer = 0;
    if (!c->upgraded) {
        const char *end = memmem(data, size, "\r\n\r\n", 4);
        if (end == NULL)
            return 0;
        if (size < 12 || memcmp(data, "HTTP/1.1 101", 12) != 0)
            fail("no upgrade but: %.*s", (int)(end - data), data);
        answer = (size_t)(end - data) + 4;
        c->upgraded = true;
    }
    return answer + take_frames(c, data + answer, size - answer);
}

static void read_in(struct client *c)
{
    while (c->fd >= 0) {
        ssize_t got = recv(c->fd, scratch, READ_ROOM, 0);
        if (got < 0 && (errno == EAGAIN || errno == EINTR))
            return;
        if (got <= 0) {
            lost(c, got == 0 ? "end of stream" : strerror(errno));
            return;
        }
        if (c->in.size > 0) {
            bytes_append(&c->in, scratch, (size_t)got);
            bytes_drop(&c->in, take(c, c->in.at, c->in.size));
        } else {
            size_t used = take(c, scratch, (size_t)got);
            bytes_append(&c->in, scratch + used, (size_t)got - used);
        }
        if (got < READ_ROOM)
            return; /* level-triggered: what is left wakes us again */
    }
}

void clients_turn(int wait_ms)
{
    struct epoll_event events[512];
    int count = epoll_wait(poller, events, 512, wait_ms);
    for (int i = 0; i < count; i++) {
        struct client *c = events[i].data.ptr;
        if (events[i].events & EPOLLOUT)
            write_out(c);
        if (events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR))
            read_in(c);
    }
    clients_flush();
}

/* --- opening -------------------------------------------------------------------------------- */

void websocket_use(const char *host, const char *port, message_handler handler)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
    server_host = host;
    server_port = port;
    handle = handler;
    if (server == NULL && getaddrinfo(host, port, &hints, &server) != 0)
        fail("cannot resolve %s:%s", host, port);
}

static void open_one(struct client *c, int index)
{
    char request[512];
    int on = 1;
    *c = (struct client){.index = index};
    c->fd = socket(server->ai_family, SOCK_STREAM, 0);
    if (c->fd < 0 || connect(c->fd, server->ai_addr, server->ai_addrlen) != 0)
        fail("connection %d to %s:%s: %s", index, server_host, server_port, strerror(errno));
    fcntl(c->fd, F_SETFL, O_NONBLOCK);
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = c};
    epoll_ctl(poller, EPOLL_CTL_ADD, c->fd, &event);
    int size = snprintf(request, sizeof request,
                        "GET / HTTP/1.1\r\nHost: %s:%s\r\nUpgrade: websocket\r\n"
                        "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
                        "Sec-WebSocket-Key: aGFuc2UtbG9hZGdlbi0wMQ==\r\n\r\n",
                        server_host, server_port);
    client_send_frame(c, request, (size_t)size);
}

void clients_open(int count, int most)
{
    if (clients == NULL) {
        poller = epoll_create1(0);
        clients = calloc((size_t)most, sizeof *clients);
        dirty = calloc((size_t)most, sizeof *dirty);
        scratch = malloc(READ_ROOM);
        if (poller < 0 || clients == NULL || dirty == NULL || scratch == NULL)
            fail("out of memory");
    }
    uint64_t deadline = now_ns() + HANDSHAKE_S * 1000000000ull;
    while (client_count < count) {
        int first = client_count;
        while (client_count < count && client_count - first < OPENING_AT_ONCE) {
            open_one(&clients[client_count], client_count);
            client_count++;
        }
        clients_flush();
        for (int i = first; i < client_count; i++)
            while (!clients[i].upgraded) {
                clients_turn(100);
                if (now_ns() > deadline)
                    fail("connection %d was not upgraded in time", i);
            }
    }
}
