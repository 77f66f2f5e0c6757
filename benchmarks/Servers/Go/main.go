// Go's net package: one goroutine a connection.
package main

import (
	"bufio"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"strconv"
	"syscall"
	"time"
	"unsafe"
)

var greeting = []byte("hello, stranger\n")

// processTime is CLOCK_PROCESS_CPUTIME_ID, which the standard library does not have.
func processTime() int64 {
	const clockProcessCPUTimeID = 2
	var now syscall.Timespec
	syscall.Syscall(syscall.SYS_CLOCK_GETTIME, clockProcessCPUTimeID, uintptr(unsafe.Pointer(&now)), 0)
	return now.Nano()
}

// drain keeps the connections that it returns alive.
func drain(listener net.Listener, wanted int) []net.Conn {
	connections := make([]net.Conn, 0, wanted)
	start, used, sum := time.Now(), processTime(), 0
	for len(connections) < wanted {
		connection, err := listener.Accept()
		if err != nil {
			continue
		}
		peer := connection.RemoteAddr().(*net.TCPAddr)
		sum += int(peer.IP.To4()[3])*65536 + peer.Port
		connections = append(connections, connection)
	}
	fmt.Println("drained", wanted, time.Since(start).Nanoseconds(), processTime()-used, sum)
	return connections
}

func serve(listener net.Listener, handle func(net.Conn)) {
	for {
		connection, err := listener.Accept()
		if err == nil {
			go handle(connection)
		}
	}
}

func greet(connection net.Conn) {
	defer connection.Close()
	connection.Write(greeting)
}

// echo has a buffer of its own: io.Copy would splice(2), through a pipe that each waiting connection holds.
func echo(connection net.Conn) {
	defer connection.Close()
	buffer := make([]byte, 16384)
	state := uint64(88172645463325252)
	for {
		size, err := connection.Read(buffer)
		if err != nil {
			return
		}
		state = scramble(state, burnRounds)
		if _, err := connection.Write(buffer[:size]); err != nil {
			return
		}
	}
}

// scramble is the work of a request, the same as in Servers/Protocol/workload.c. It is not inlined: the compiler would
// see that the result has no use, and leave the work out.
//
//go:noinline
func scramble(value, rounds uint64) uint64 {
	for ; rounds > 0; rounds-- {
		value ^= value << 13
		value ^= value >> 7
		value ^= value << 17
	}
	return value
}

var burnRounds uint64

// stall blocks a thread now and then, as a blocking call in a handler does. There is no loop that could hang with it:
// the scheduler gives the other goroutines another thread.
func stall(period, length time.Duration) {
	for {
		time.Sleep(period - length)
		blocked := syscall.NsecToTimespec(length.Nanoseconds())
		syscall.Nanosleep(&blocked, nil)
	}
}

// parseWorkload reads what the servers in C have in Servers/Protocol/workload.h.
func parseWorkload(arguments []string) {
	options := flag.NewFlagSet("go", flag.ExitOnError)
	loops := options.Int("loops", 1, "threads that run goroutines")
	options.Uint64Var(&burnRounds, "burn-rounds", 0, "for each request")
	period := options.Int("stall-period", 0, "milliseconds")
	length := options.Int("stall-time", 0, "milliseconds")
	options.Parse(arguments)
	runtime.GOMAXPROCS(*loops)
	if *period > 0 {
		go stall(time.Duration(*period)*time.Millisecond, time.Duration(*length)*time.Millisecond)
	}
}

func main() {
	runtime.GOMAXPROCS(1)
	// The backlog is the kernel's limit, and TCP_NODELAY is set: both are Go's defaults.
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		os.Exit(1)
	}
	fmt.Println("port", listener.Addr().(*net.TCPAddr).Port)

	input := bufio.NewReader(os.Stdin)
	var kept []net.Conn
	switch os.Args[1] {
	case "drain":
		// Nothing is accepted before the first call of Accept, which comes after this line.
		input.ReadString('\n')
		wanted, _ := strconv.Atoi(os.Args[2])
		kept = drain(listener, wanted)
	case "storm":
		go serve(listener, greet)
	default:
		parseWorkload(os.Args[2:])
		go serve(listener, echo)
	}
	io.Copy(io.Discard, input)
	runtime.KeepAlive(kept)
}
