/* What a run costs: the server's CPU and memory (from /proc), our own CPU, latencies; as JSON. */
#ifndef MEASURE_H
#define MEASURE_H

#include <stdint.h>

/* Process ids of the server, by comma; their living descendants count too. "" for none. */
void measure_use(const char *pids);

double server_cpu_s(void);
long server_anon_kib(void);

/* Start and end of what is measured. */
void measure_begin(void);
void measure_end(void);
double measure_elapsed_s(void);

/* After the end: the CPU of what the server still does with what it took counts, too. Waits until
   it does next to nothing. */
void measure_rest(void);

/* One flat JSON object on stdout, field by field. */
void report_begin(const char *mode);
void report_number(const char *name, double value);
void report_latencies(const char *name, uint64_t *ns, long count); /* sorts `ns` */
void report_cost(long operations); /* server_cpu_ms per operation, and the totals */
void report_end(void);

#endif
