// SPDX-License-Identifier: Apache-2.0

// CServerCore as a C++ program may wrap it: what is owned has an owner, an error is an exception, a
// callback is any callable.

#pragma once

#include <CServerCore.h>

#include <cstdint>
#include <event2/event.h>
#include <exception>
#include <functional>
#include <memory>
#include <new>
#include <stdexcept>
#include <string>
#include <unistd.h>
#include <utility>

/// An event_base, which keeps an exception on its way from a callback to run().
class loop {
  public:
    loop() : base_(event_base_new(), event_base_free) {
        if (!base_) {
            throw std::bad_alloc();
        }
    }

    /// Runs until stop(), or until a callback throws.
    void run() {
        event_base_dispatch(base_.get());
        if (auto failure = std::exchange(failure_, nullptr)) {
            std::rethrow_exception(failure);
        }
    }

    void stop() noexcept {
        event_base_loopbreak(base_.get());
    }

    /// Calls what C calls, which no exception may leave.
    template <typename Body> void guard(Body &&body) noexcept {
        try {
            std::forward<Body>(body)();
        } catch (...) {
            failure_ = std::current_exception();
            stop();
        }
    }

    event_base *get() const noexcept {
        return base_.get();
    }

  private:
    std::unique_ptr<event_base, decltype(&event_base_free)> base_;
    std::exception_ptr failure_;
};

class server_error : public std::runtime_error {
  public:
    explicit server_error(const csc_server *server)
        : std::runtime_error(csc_server_error_string(server)), code(csc_server_error(server)) {}

    csc_error code;
};

/// An accepted connection. Its end closes it, and tells the server unless that has gone.
class connection {
  public:
    connection(const csc_connection &accepted, std::weak_ptr<csc_server> server) noexcept
        : accepted_(accepted), server_(std::move(server)) {}

    connection(connection &&other) noexcept
        : accepted_(other.accepted_), server_(std::move(other.server_)) {
        other.accepted_.descriptor = -1;
    }

    connection &operator=(connection &&other) noexcept {
        std::swap(accepted_, other.accepted_);
        std::swap(server_, other.server_);
        return *this;
    }

    ~connection() {
        if (accepted_.descriptor < 0) {
            return;
        }
        close(accepted_.descriptor);
        if (auto server = server_.lock()) {
            csc_server_connection_ended(server.get());
        }
    }

    int descriptor() const noexcept {
        return accepted_.descriptor;
    }

    std::string peer() const {
        char text[CSC_ADDRESS_TEXT_SIZE];
        return {text, csc_address_format(&accepted_.peer, text, sizeof text)};
    }

  private:
    csc_connection accepted_;
    std::weak_ptr<csc_server> server_;
};

/// A server whose handler takes each connection. Movable; its end closes it.
class server {
  public:
    using handler = std::function<void(connection)>;

    /// The loop has to outlive the server.
    server(loop &loop, handler handler)
        : state_(std::make_unique<state>(state{loop, std::move(handler), {}})) {
        state_->server = {csc_server_new(loop.get()), csc_server_free};
        if (!state_->server) {
            throw std::bad_alloc();
        }
        csc_server_on_incoming_connection(get(), incoming, state_.get());
    }

    /// Listens on a literal, * for all addresses; 0 is any free port.
    void listen(const std::string &address, std::uint16_t port) {
        csc_address parsed;
        if (!csc_address_parse(address.c_str(), port, &parsed)) {
            throw std::invalid_argument(address + " is no address");
        }
        if (!csc_server_listen(get(), &parsed)) {
            throw server_error(get());
        }
    }

    csc_server *get() const noexcept {
        return state_->server.get();
    }

  private:
    /// Where the callback finds it, wherever the server moves to.
    struct state {
        loop &base;
        handler take;
        std::shared_ptr<csc_server> server;
    };

    static void incoming(csc_server *, const csc_connection *accepted, void *context) noexcept {
        auto &self = *static_cast<state *>(context);
        connection taken(*accepted, self.server);
        self.base.guard([&] { self.take(std::move(taken)); });
    }

    std::unique_ptr<state> state_;
};
