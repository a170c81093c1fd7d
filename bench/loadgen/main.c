/* loadgen: load on a Nostr relay over WebSocket, every answer checked, its CPU and memory taken.
 *
 *   loadgen HOST PORT PIDS ingest CONNECTIONS WINDOW SUBSCRIPTIONS FILE…
 *   loadgen HOST PORT PIDS query FILE CLASS CONNECTIONS SECONDS
 *   loadgen HOST PORT PIDS fanout SUBSCRIBERS WINDOW FILTER FILE
 *   loadgen HOST PORT PIDS idle CONNECTIONS FILTER
 *
 * PIDS are the relay's process ids, by comma. Build: cc -O2 -o loadgen *.c */
#include "measure.h"
#include "modes.h"
#include "websocket.h"

#include <string.h>
#include <sys/resource.h>

static void raise_file_limit(void)
{
    struct rlimit files;
    if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
        files.rlim_cur = files.rlim_max;
        setrlimit(RLIMIT_NOFILE, &files);
    }
}

int main(int count, char **values)
{
    static const struct {
        const char *name;
        int (*run)(const char *, const char *, int, char **);
    } modes[] = {{"ingest", ingest}, {"query", query}, {"fanout", fanout}, {"idle", idle}};
    if (count < 5)
        fail("HOST PORT PIDS ingest|query|fanout|idle …");
    raise_file_limit();
    measure_use(values[3]);
    for (size_t i = 0; i < sizeof modes / sizeof *modes; i++)
        if (strcmp(values[4], modes[i].name) == 0)
            return modes[i].run(values[1], values[2], count - 5, values + 5);
    fail("%s is no kind of load", values[4]);
}
