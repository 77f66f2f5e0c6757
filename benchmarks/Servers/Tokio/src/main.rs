// SPDX-License-Identifier: Apache-2.0
//! tokio: one task a connection, on its current_thread runtime, or on the multi-thread one with `--loops N`.

mod workload;

use std::io::BufRead;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::time::Instant;
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use workload::Workload;

type Result<T> = std::io::Result<T>;

fn process_time() -> i64 {
    let mut now = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &mut now) };
    now.tv_sec * 1_000_000_000 + now.tv_nsec
}

/// Returns the connections, so that they stay open.
async fn drain(listener: &TcpListener, wanted: usize) -> Result<Vec<TcpStream>> {
    let mut connections = Vec::with_capacity(wanted);
    let (start, used, mut sum) = (Instant::now(), process_time(), 0u64);
    while connections.len() < wanted {
        let (connection, peer) = listener.accept().await?;
        if let SocketAddr::V4(address) = peer {
            sum += u64::from(address.ip().octets()[3]) * 65536 + u64::from(address.port());
        }
        connections.push(connection);
    }
    let wall = start.elapsed().as_nanos();
    println!("drained {wanted} {wall} {} {sum}", process_time() - used);
    Ok(connections)
}

async fn greet(mut connection: TcpStream) -> Result<()> {
    connection.write_all(b"hello, stranger\n").await
}

async fn echo(mut connection: TcpStream, burn_rounds: u64) -> Result<()> {
    connection.set_nodelay(true)?;
    // Not vec![0; 16384]: writing the zeroes would cost each idle connection all its pages.
    let mut buffer = Vec::with_capacity(16384);
    while connection.read_buf(&mut buffer).await? > 0 {
        workload::burn(burn_rounds);
        connection.write_all(&buffer).await?;
        buffer.clear();
    }
    Ok(())
}

async fn serve(listener: TcpListener, greets: bool, burn_rounds: u64) -> Result<()> {
    loop {
        let (connection, _) = listener.accept().await?;
        if greets {
            tokio::spawn(greet(connection));
        } else {
            tokio::spawn(echo(connection, burn_rounds));
        }
    }
}

async fn run(mode: &str, wanted: usize, workload: Workload) -> Result<()> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0).into())?;
    let listener = socket.listen(65535)?;
    println!("port {}", listener.local_addr()?.port());

    let mut kept = Vec::new();
    if mode == "drain" {
        // On purpose it blocks the runtime: nothing is accepted before the first call of accept().
        std::io::stdin().lock().read_line(&mut String::new())?;
        kept = drain(&listener, wanted).await?;
    } else {
        tokio::spawn(serve(listener, mode == "storm", workload.burn_rounds));
        if !workload.stall_period.is_zero() {
            tokio::spawn(workload::stall(workload));
        }
    }
    // tokio::io::stdin() would start a thread, and then each growth of the descriptor table waits
    // for an RCU grace period. Only the line above is ever written: readable input has ended.
    let input = AsyncFd::new(std::io::stdin())?;
    drop(input.readable().await?);
    drop(kept);
    Ok(())
}

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let mode = arguments.first().cloned().unwrap_or_default();
    let mut workload = Workload::default();
    let mut wanted = 0;
    if mode == "drain" {
        wanted = arguments
            .get(1)
            .and_then(|text| text.parse().ok())
            .unwrap_or(0);
    } else {
        workload = Workload::parse(&arguments[1.min(arguments.len())..]);
    }
    let mut builder = match workload.loops {
        None => tokio::runtime::Builder::new_current_thread(),
        Some(_) => tokio::runtime::Builder::new_multi_thread(),
    };
    if let Some(loops) = workload.loops {
        builder.worker_threads(loops);
    }
    if !workload.stall_period.is_zero() {
        builder.enable_time();
    }
    builder
        .enable_io()
        .build()?
        .block_on(run(&mode, wanted, workload))
}
