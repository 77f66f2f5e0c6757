// SPDX-License-Identifier: Apache-2.0

// A C++ program on the installed library, which is its own client.

#include "server.hpp"

#include <iostream>
#include <optional>
#include <string_view>
#include <sys/socket.h>
#include <vector>

namespace {

void check(bool condition, std::string_view what) {
    if (!condition) {
        std::cerr << "not so: " << what << '\n';
        std::exit(1);
    }
}

/// A client's connection to a server of this process, which may not have accepted it yet.
class client {
  public:
    explicit client(const server &server) : descriptor_(socket(AF_INET, SOCK_STREAM, 0)) {
        csc_address address = csc_server_address(server.get());
        sockaddr_storage name;
        socklen_t length = csc_address_to_sockaddr(&address, &name);
        check(connect(descriptor_, reinterpret_cast<sockaddr *>(&name), length) == 0, "connected");
    }

    client(client &&other) noexcept : descriptor_(std::exchange(other.descriptor_, -1)) {}

    ~client() {
        if (descriptor_ >= 0) {
            close(descriptor_);
        }
    }

    /// What comes up to the end.
    std::string receive() {
        char text[64];
        ssize_t count = recv(descriptor_, text, sizeof text, MSG_WAITALL);
        return count < 0 ? "an error" : std::string(text, static_cast<std::size_t>(count));
    }

  private:
    int descriptor_;
};

void greet(const connection &connection) {
    std::string text = "hello, " + connection.peer();
    send(connection.descriptor(), text.data(), text.size(), MSG_NOSIGNAL);
}

csc_statistics statistics(const server &server) {
    csc_statistics result;
    csc_server_statistics(server.get(), &result, sizeof result);
    return result;
}

/// Connections are kept for a while, two at a time, by a server that has moved.
void serves_what_it_was_moved_with() {
    loop loop;
    std::vector<connection> kept;
    int served = 0;
    server first(loop, [&](connection taken) {
        greet(taken);
        kept.push_back(std::move(taken));
        served++;
        if (kept.size() == 2) {
            kept.clear();
        }
        if (served == 10) {
            loop.stop();
        }
    });
    first.listen("127.0.0.1", 0);
    server moved = std::move(first);
    csc_server_set_max_connections(moved.get(), 2, CSC_EXCESS_WAIT);

    std::vector<client> clients;
    for (int i = 0; i < 10; i++) {
        clients.emplace_back(moved);
    }
    loop.run();
    for (auto &client : clients) {
        check(client.receive() == "hello, 127.0.0.1", "the greeting came");
    }
    check(statistics(moved).delivered == 10, "ten were delivered");
    check(statistics(moved).live == 0, "every connection that was closed was told of");
}

void errors_are_exceptions() {
    loop loop;
    server first(loop, greet);
    server second(loop, greet);
    first.listen("127.0.0.1", 0);
    try {
        second.listen("127.0.0.1", csc_server_port(first.get()));
        check(false, "a port was taken twice");
    } catch (const server_error &error) {
        check(error.code == CSC_ERROR_ADDRESS_IN_USE, "the code of the error");
        check(error.what() == std::string("The bound address is already in use"), "its text");
    }
}

/// What a handler throws comes out of the loop; the connection has ended then, and the next one is
/// served.
void exceptions_pass_around_the_c_code() {
    loop loop;
    bool refusing = true;
    server server(loop, [&](connection taken) {
        if (std::exchange(refusing, false)) {
            throw std::runtime_error("not this one");
        }
        greet(taken);
        loop.stop();
    });
    server.listen("127.0.0.1", 0);
    client refused(server);
    try {
        loop.run();
        check(false, "the exception was lost");
    } catch (const std::runtime_error &error) {
        check(error.what() == std::string("not this one"), "the exception is the handler's");
    }
    check(refused.receive().empty(), "the connection was closed");
    check(statistics(server).live == 0, "and told of");
    client next(server);
    loop.run();
    check(next.receive() == "hello, 127.0.0.1", "the next was served");
}

/// A connection outlives its server.
void servers_may_end_first() {
    loop loop;
    std::optional<connection> kept;
    std::optional<client> peer;
    {
        server server(loop, [&](connection taken) {
            kept.emplace(std::move(taken));
            loop.stop();
        });
        server.listen("127.0.0.1", 0);
        peer.emplace(server);
        loop.run();
    }
    greet(*kept);
    kept.reset();
    check(peer->receive() == "hello, 127.0.0.1", "the greeting came after the server's end");
}

} // namespace

int main() {
    alarm(50);
    serves_what_it_was_moved_with();
    errors_are_exceptions();
    exceptions_pass_around_the_c_code();
    servers_may_end_first();
    return 0;
}
