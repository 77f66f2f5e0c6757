// The part of libevent that the Swift module drives itself: the loop and plain events. libevent_core only.
#include <event2/event.h>
