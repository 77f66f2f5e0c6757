// SPDX-License-Identifier: Apache-2.0

// Boost.Asio: one async_accept after the other, and sessions that live by the handlers they wait
// for.

#include <boost/asio.hpp>

#include <array>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <memory>
#include <string_view>
#include <unistd.h>
#include <vector>

namespace asio = boost::asio;
using boost::system::error_code;
using tcp = asio::ip::tcp;

static std::int64_t nanoseconds(clockid_t clock) {
    timespec now;
    clock_gettime(clock, &now);
    return now.tv_sec * INT64_C(1000000000) + now.tv_nsec;
}

class Session : public std::enable_shared_from_this<Session> {
  public:
    explicit Session(tcp::socket socket) : socket_(std::move(socket)) {}

    void greet() {
        asio::async_write(socket_, asio::buffer("hello, stranger\n", 16),
                          [self = shared_from_this()](error_code, std::size_t) {});
    }

    void echo() {
        error_code ignored;
        socket_.set_option(tcp::no_delay(true), ignored);
        read();
    }

  private:
    void read() {
        socket_.async_read_some(asio::buffer(buffer_),
                                [self = shared_from_this()](error_code error, std::size_t size) {
                                    if (!error) {
                                        self->write(size);
                                    }
                                });
    }

    void write(std::size_t size) {
        asio::async_write(socket_, asio::buffer(buffer_, size),
                          [self = shared_from_this()](error_code error, std::size_t) {
                              if (!error) {
                                  self->read();
                              }
                          });
    }

    tcp::socket socket_;
    std::array<char, 16384> buffer_;
};

class Server {
  public:
    Server(asio::io_context &context, std::string_view mode, std::size_t wanted)
        : acceptor_(context, tcp::v4()), mode_(mode), wanted_(wanted) {
        acceptor_.bind({asio::ip::address_v4::loopback(), 0});
        acceptor_.listen(65535);
        std::printf("port %d\n", acceptor_.local_endpoint().port());
        std::fflush(stdout);
    }

    void start() {
        wall_ = nanoseconds(CLOCK_MONOTONIC);
        cpu_ = nanoseconds(CLOCK_PROCESS_CPUTIME_ID);
        accept();
    }

  private:
    void accept() {
        // Given an endpoint, Asio takes the peer's address from accept(2) itself.
        acceptor_.async_accept(peer_, [this](error_code error, tcp::socket socket) {
            if (!error) {
                handle(std::move(socket));
            }
            accept();
        });
    }

    void handle(tcp::socket socket) {
        if (mode_ == "drain") {
            drain(std::move(socket));
        } else if (mode_ == "storm") {
            std::make_shared<Session>(std::move(socket))->greet();
        } else {
            std::make_shared<Session>(std::move(socket))->echo();
        }
    }

    void drain(tcp::socket socket) {
        sum_ += (peer_.address().to_v4().to_uint() & 0xff) * UINT64_C(65536) + peer_.port();
        drained_.push_back(std::move(socket));
        if (drained_.size() == wanted_) {
            std::printf("drained %zu %lld %lld %llu\n", wanted_,
                        static_cast<long long>(nanoseconds(CLOCK_MONOTONIC) - wall_),
                        static_cast<long long>(nanoseconds(CLOCK_PROCESS_CPUTIME_ID) - cpu_),
                        static_cast<unsigned long long>(sum_));
            std::fflush(stdout);
        }
    }

    tcp::acceptor acceptor_;
    tcp::endpoint peer_;
    std::string_view mode_;
    std::size_t wanted_;
    std::int64_t wall_ = 0;
    std::int64_t cpu_ = 0;
    std::uint64_t sum_ = 0;
    std::vector<tcp::socket> drained_;
};

int main(int argc, char **argv) {
    const std::string_view mode = argc > 1 ? argv[1] : "";
    // One thread calls run(): Asio leaves most of its locking out.
    asio::io_context context(1);
    Server server(context, mode, argc > 2 ? std::strtoul(argv[2], nullptr, 10) : 0);

    if (mode == "drain") {
        // Nothing is accepted before the first async_accept, which comes after this line.
        for (int byte; (byte = std::getchar()) != EOF && byte != '\n';) {
        }
    }
    asio::posix::stream_descriptor input(context, STDIN_FILENO);
    char bytes[64];
    asio::async_read(input, asio::buffer(bytes), [&](error_code, std::size_t) { context.stop(); });
    server.start();
    context.run();
}
