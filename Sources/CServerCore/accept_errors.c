// The errnos of accept by their class, and what each class does.

#include "server.h"

#include <errno.h>
#include <sys/socket.h>

enum { FIRST_RETRY_REFUSED_MS = 100 };

typedef enum error_class { NOTHING, THIS_PEER, RESOURCES, REFUSED, LISTENER_BROKEN } error_class;

bool csc__accept_still_listens(const csc_server *server) {
    int listening = 0;
    socklen_t length = sizeof listening;
    return getsockopt(server->socket.own, SOL_SOCKET, SO_ACCEPTCONN, &listening, &length) == 0 &&
           listening;
}

static error_class classify(const csc_server *server, int errnum) {
    switch (errnum) {
    case EAGAIN:
        return NOTHING;
    case EINTR:
    case ECONNABORTED:
    case EPROTO:
    case ECONNRESET:
    case ETIMEDOUT:
    case ENETDOWN:
    case ENETUNREACH:
    case EHOSTDOWN:
    case EHOSTUNREACH:
    case ENONET:
    case ENOPROTOOPT:
    case EPIPE:
        return THIS_PEER;
    case EPERM:
    case EACCES:
    case ENOSYS:
        return REFUSED;
    case EOPNOTSUPP:
        return csc__accept_still_listens(server) ? THIS_PEER : LISTENER_BROKEN;
    case EBADF:
    case ENOTSOCK:
    case EINVAL:
    case EFAULT:
        return LISTENER_BROKEN;
    default: // EMFILE, ENFILE, ENOBUFS, ENOMEM, and any errno nobody has heard of: never spin on it
        return RESOURCES;
    }
}

bool csc__accept_failed(csc_server *server, int errnum) {
    int first_delay = FIRST_RETRY_MS;
    switch (classify(server, errnum)) {
    case NOTHING:
        return false;
    case THIS_PEER:
        server->statistics.peer_errors++;
        server->in_batch++; // not a turn in which nothing happened
        server->peer_error_streak++;
        if (server->peer_error_streak < LONGEST_PEER_ERROR_STREAK) {
            return false;
        }
        break;
    case RESOURCES:
        server->statistics.resource_errors++;
        break;
    case REFUSED:
        server->statistics.refused_errors++;
        first_delay = FIRST_RETRY_REFUSED_MS;
        break;
    case LISTENER_BROKEN:
        server->statistics.listener_errors++;
        csc__server_fail(server, CSC_CALL_ACCEPT, errnum);
        csc__server_stop_listening(server);
        csc__report_error(server);
        return true;
    }
    csc__overload(server, errnum, first_delay);
    return true;
}
