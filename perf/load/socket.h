/* Listening and connecting for both sides of a measurement. */
#ifndef TERN_LOAD_SOCKET_H
#define TERN_LOAD_SOCKET_H

#include "shared/error.h"

/* Connects; the socket is non-blocking and sends at once (TCP_NODELAY). */
int load_socket_connect(const char *address, int *fd, struct tern_error *error);
/* Shows `token` with HELLO on a fresh connection and waits for the answer. TERN_EACCES when it is
 * refused, TERN_ETIMEDOUT, TERN_ECLOSED. */
int load_socket_introduce(int fd, const char *token, struct tern_error *error);
/* One PING and its answer. TERN_ETIMEDOUT, TERN_ECLOSED, TERN_EREFUSED. */
int load_socket_ping(int fd, struct tern_error *error);
/* The same in redis's protocol. */
int load_socket_ping_resp(int fd, struct tern_error *error);
/* Closes with a reset, which leaves no port waiting behind. */
void load_socket_abort(int fd);
/* Listens, non-blocking; port 0 picks a free one. Writes the address that clients use to `actual`.
 */
int load_socket_listen(const char *address, int *fd, char actual[128], struct tern_error *error);
/* Keeps this thread on one CPU; −1: leaves it alone. */
int load_pin(int cpu, struct tern_error *error);

#endif
