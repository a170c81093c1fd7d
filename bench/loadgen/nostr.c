#define _GNU_SOURCE
#include "nostr.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct event *events;
long event_count;

static long *slots; /* open addressing: number + 1, or 0 */
static uint64_t slot_mask;

static uint64_t slot_of(uint64_t id)
{
    return (id * 0x9e3779b97f4a7c15ull >> 20) & slot_mask;
}

static void index_events(void)
{
    uint64_t room = 16;
    while (room < (uint64_t)event_count * 2)
        room *= 2;
    slot_mask = room - 1;
    slots = calloc(room, sizeof *slots);
    if (slots == NULL)
        fail("out of memory");
    for (long number = 0; number < event_count; number++) {
        uint64_t slot = slot_of(events[number].id);
        while (slots[slot])
            slot = (slot + 1) & slot_mask;
        slots[slot] = number + 1;
    }
}

long event_find(uint64_t id)
{
    for (uint64_t slot = slot_of(id); slots[slot]; slot = (slot + 1) & slot_mask)
        if (events[slots[slot] - 1].id == id)
            return slots[slot] - 1;
    return -1;
}

static void event_add(const char *json, size_t size)
{
    static long room;
    struct bytes message = {0}, frame = {0};
    if (event_count == room) {
        room = room ? room * 2 : 1024;
        events = realloc(events, (size_t)room * sizeof *events);
        if (events == NULL)
            fail("out of memory");
    }
    const char *id = memmem(json, size, "\"id\":\"", 6);
    uint64_t first;
    if (id == NULL || !read_id(id + 5, json + size, &first))
        fail("an event of the input has no id");
    bytes_append(&message, "[\"EVENT\",", 9);
    bytes_append(&message, json, size);
    bytes_append(&message, "]", 1);
    frame_append(&frame, 1, message.at, message.size);
    free(message.at);
    events[event_count++] = (struct event){first, frame.at, frame.size};
}

void events_load(char **files, int count)
{
    char *line = NULL;
    size_t room = 0;
    ssize_t size;
    for (int i = 0; i < count; i++) {
        FILE *file = fopen(files[i], "r");
        if (file == NULL)
            fail("%s: %s", files[i], strerror(errno));
        while ((size = getline(&line, &room, file)) > 0) {
            if (line[size - 1] == '\n')
                size--;
            event_add(line, (size_t)size);
        }
        fclose(file);
    }
    free(line);
    index_events();
}

void event_publish(struct client *by, long number)
{
    client_send_frame(by, events[number].frame, events[number].size);
}

const char *skip(const char *at, const char *end)
{
    while (at < end && (*at == ' ' || *at == ',' || *at == ':'))
        at++;
    return at;
}

bool is_message(const char *text, size_t size, const char *word, const char **rest)
{
    const char *end = text + size, *at = size ? skip(text + 1, end) : end;
    size_t length = strlen(word);
    if ((size_t)(end - at) < length + 2 || *at != '"' || memcmp(at + 1, word, length) != 0 ||
        at[length + 1] != '"')
        return false;
    *rest = skip(at + length + 2, end);
    return true;
}

bool read_id(const char *at, const char *end, uint64_t *id)
{
    if (end - at < 17 || *at != '"')
        return false;
    *id = 0;
    for (int i = 1; i <= 16; i++) {
        char digit = at[i];
        if (digit >= '0' && digit <= '9')
            *id = *id << 4 | (uint64_t)(digit - '0');
        else if (digit >= 'a' && digit <= 'f')
            *id = *id << 4 | (uint64_t)(digit - 'a' + 10);
        else
            return false;
    }
    return true;
}

void request(struct client *by, const char *name, const char *filter, size_t size)
{
    static struct bytes message;
    char head[64];
    message.size = 0;
    bytes_append(&message, head, (size_t)snprintf(head, sizeof head, "[\"REQ\",\"%s\",", name));
    bytes_append(&message, filter, size);
    bytes_append(&message, "]", 1);
    client_send(by, message.at, message.size);
}
