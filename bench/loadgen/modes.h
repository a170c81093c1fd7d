/* The kinds of load. Each takes its own arguments, prints one JSON object, and returns 0 only if
 * every answer was the right one. */
#ifndef MODES_H
#define MODES_H

int ingest(const char *host, const char *port, int count, char **values);
int query(const char *host, const char *port, int count, char **values);
int fanout(const char *host, const char *port, int count, char **values);
int idle(const char *host, const char *port, int count, char **values);

#endif
