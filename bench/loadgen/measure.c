#define _GNU_SOURCE
#include "measure.h"

#include "websocket.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

enum { TREE_MAX = 1024 };

/* At rest: so small a share of one processor, for so long that what a server puts off has begun. */
static const double RESTING = 0.02, REST_S = 1.2, REST_MAX_S = 30;

static int roots[16], root_count;
static double cpu_before_s, cpu_after_s, own_before_s, own_after_s;
static uint64_t began_ns, ended_ns;

void measure_use(const char *pids)
{
    char *copy = strdup(pids), *rest = copy, *word;
    while ((word = strsep(&rest, ",")) != NULL)
        if (*word && root_count < 16)
            roots[root_count++] = atoi(word);
    free(copy);
}

/* The text of /proc/PID/NAME after the last ')' (a command name may hold anything). */
static int read_stat(int pid, char *into, size_t room)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/stat", pid);
    FILE *file = fopen(path, "r");
    if (file == NULL)
        return 0;
    size_t size = fread(into, 1, room - 1, file);
    into[size] = 0;
    fclose(file);
    char *end = strrchr(into, ')');
    if (end == NULL)
        return 0;
    memmove(into, end + 1, strlen(end + 1) + 1);
    return 1;
}

static int contains(const int *found, int count, int pid)
{
    for (int i = 0; i < count; i++)
        if (found[i] == pid)
            return 1;
    return 0;
}

/* The roots and everything below them; /proc is read again until nothing new turns up. */
static int process_tree(int *found)
{
    int count = 0, before = -1;
    for (int i = 0; i < root_count; i++)
        found[count++] = roots[i];
    while (count > 0 && count != before) {
        DIR *proc = opendir("/proc");
        struct dirent *entry;
        before = count;
        while (proc != NULL && (entry = readdir(proc)) != NULL) {
            char stat[1024];
            int pid = atoi(entry->d_name), parent;
            if (pid <= 0 || count == TREE_MAX || contains(found, count, pid))
                continue;
            if (read_stat(pid, stat, sizeof stat) && sscanf(stat, " %*c %d", &parent) == 1 &&
                contains(found, count, parent))
                found[count++] = pid;
        }
        if (proc != NULL)
            closedir(proc);
    }
    return count;
}

/* By the process's own clock, in nanoseconds; where there is none, by the ticks of /proc, which
   show nothing of work that took less than one. */
static double process_cpu_s(int pid)
{
    clockid_t clock;
    struct timespec used;
    char stat[1024];
    unsigned long user, system;
    if (clock_getcpuclockid(pid, &clock) == 0 && clock_gettime(clock, &used) == 0)
        return (double)used.tv_sec + (double)used.tv_nsec / 1e9;
    if (read_stat(pid, stat, sizeof stat) &&
        sscanf(stat, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user, &system) == 2)
        return (double)(user + system) / (double)sysconf(_SC_CLK_TCK);
    return 0;
}

double server_cpu_s(void)
{
    int tree[TREE_MAX], count = process_tree(tree);
    double total = 0;
    for (int i = 0; i < count; i++)
        total += process_cpu_s(tree[i]);
    return total;
}

long server_anon_kib(void)
{
    int tree[TREE_MAX], count = process_tree(tree);
    long total = 0;
    for (int i = 0; i < count; i++) {
        char path[64], line[256];
        long kib;
        snprintf(path, sizeof path, "/proc/%d/smaps_rollup", tree[i]);
        FILE *file = fopen(path, "r");
        if (file == NULL)
            continue;
        while (fgets(line, sizeof line, file) != NULL)
            if (sscanf(line, "Anonymous: %ld", &kib) == 1)
                total += kib;
        fclose(file);
    }
    return total;
}

static double own_cpu_s(void)
{
    struct rusage used;
    getrusage(RUSAGE_SELF, &used);
    return (double)(used.ru_utime.tv_sec + used.ru_stime.tv_sec) +
           (double)(used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1e6;
}

void measure_begin(void)
{
    own_before_s = own_cpu_s();
    cpu_before_s = server_cpu_s();
    began_ns = now_ns();
}

void measure_end(void)
{
    ended_ns = now_ns();
    cpu_after_s = server_cpu_s();
    own_after_s = own_cpu_s();
}

void measure_rest(void)
{
    for (double waited_s = 0; root_count > 0 && waited_s < REST_MAX_S; waited_s += REST_S) {
        double before_s = cpu_after_s;
        usleep((useconds_t)(REST_S * 1e6));
        cpu_after_s = server_cpu_s();
        if (cpu_after_s - before_s <= REST_S * RESTING)
            return;
    }
}

double measure_elapsed_s(void)
{
    return (double)(ended_ns - began_ns) / 1e9;
}

void report_begin(const char *mode)
{
    printf("{\"mode\":\"%s\"", mode);
}

void report_number(const char *name, double value)
{
    printf(",\"%s\":%.6g", name, value);
}

static int ascending(const void *left, const void *right)
{
    uint64_t a = *(const uint64_t *)left, b = *(const uint64_t *)right;
    return a < b ? -1 : a > b;
}

void report_latencies(const char *name, uint64_t *ns, long count)
{
    if (count == 0)
        return;
    qsort(ns, (size_t)count, sizeof *ns, ascending);
    printf(",\"%s_p50_ms\":%.4f,\"%s_p99_ms\":%.4f,\"%s_max_ms\":%.4f", name,
           (double)ns[count / 2] / 1e6, name, (double)ns[count * 99 / 100] / 1e6, name,
           (double)ns[count - 1] / 1e6);
}

void report_cost(long operations)
{
    double cpu_s = cpu_after_s - cpu_before_s;
    report_number("elapsed_s", measure_elapsed_s());
    report_number("per_s", (double)operations / measure_elapsed_s());
    report_number("server_cpu_s", cpu_s);
    report_number("server_cpu_ms", operations ? cpu_s * 1000 / (double)operations : 0);
    report_number("generator_cpu_s", own_after_s - own_before_s);
    report_number("connections_lost", (double)connections_lost);
}

void report_end(void)
{
    printf("}\n");
    fflush(stdout);
}
