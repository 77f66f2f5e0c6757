// Go's net package: one goroutine a connection.
package main

import (
	"bufio"
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
	for {
		size, err := connection.Read(buffer)
		if err != nil {
			return
		}
		if _, err := connection.Write(buffer[:size]); err != nil {
			return
		}
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
		go serve(listener, echo)
	}
	io.Copy(io.Discard, input)
	runtime.KeepAlive(kept)
}
