//! The edge: limits on connections, headers and time, and a stop that loses nothing.

use std::{
    io::{Read as _, Write as _},
    time::{Duration, Instant},
};

use mainstay_server::config::{Size, Span};

use crate::server::{ADMIN, Server};

fn status(answer: &str) -> &str {
    answer.split(' ').nth(1).unwrap_or_default()
}

/// How long it takes until the server closes; at most the time-out of the stream.
fn closed_after(mut stream: std::net::TcpStream, start: Instant) -> (Duration, String) {
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    (start.elapsed(), String::from_utf8_lossy(&answer).into_owned())
}

#[test]
fn a_connection_that_drips_or_is_silent_is_closed() {
    let server = Server::with(|config| config.header_timeout = Span::millis(200));
    let (start, silent, mut dripping) = (Instant::now(), server.connect(), server.connect());
    let drip = std::thread::spawn(move || {
        for byte in b"GET /livez HTTP/1.1\r\nhost: x\r\n".iter().cycle() {
            std::thread::sleep(Duration::from_millis(20));
            if dripping.write_all(&[*byte]).is_err() {
                return start.elapsed();
            }
        }
        unreachable!("a cycle does not end")
    });
    let (took, answer) = closed_after(silent, start);
    assert!(took < Duration::from_secs(5) && answer.is_empty(), "{took:?} {answer}");
    assert!(drip.join().unwrap() < Duration::from_secs(5));
}

#[test]
fn half_a_second_request_is_closed_too_and_idling_is_not() {
    let server = Server::with(|config| config.header_timeout = Span::millis(200));
    let request = b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n";
    let mut idle = server.connect();
    let mut half = server.connect();
    let mut buffer = [0; 1024];
    for stream in [&mut idle, &mut half] {
        stream.write_all(request).unwrap();
        assert!(stream.read(&mut buffer).unwrap() > 0);
    }
    half.write_all(&request[..10]).unwrap();
    let (took, answer) = closed_after(half, Instant::now());
    assert!(took < Duration::from_secs(5) && answer.is_empty(), "{took:?} {answer}");
    idle.write_all(request).unwrap();
    assert!(idle.read(&mut buffer).unwrap() > 0, "an idle connection was closed with the others");
}

#[test]
fn an_idle_connection_is_closed_after_its_time() {
    let server = Server::with(|config| {
        config.header_timeout = Span::millis(100);
        config.idle_timeout = Span::millis(200);
    });
    let mut stream = server.connect();
    stream.write_all(b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
    let (took, answer) = closed_after(stream, Instant::now());
    assert_eq!(status(&answer), "200");
    assert!(took >= Duration::from_millis(200) && took < Duration::from_secs(5), "{took:?}");
}

#[test]
fn a_body_that_does_not_arrive_is_answered() {
    let server = Server::with(|config| config.request_timeout = Span::millis(100));
    let head = format!(
        "POST /v1/sessions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {ADMIN}\r\n\
         content-type: application/json\r\ncontent-length: 20\r\n\r\n{{\"user\""
    );
    let answer = server.raw(head.as_bytes());
    assert_eq!(status(&answer), "408", "{answer}");
    assert!(answer.contains("\"code\":\"timeout\"") && answer.contains("connection: close"), "{answer}");
}

#[test]
fn a_client_that_does_not_read_is_cut_off() {
    let server = Server::with(|config| {
        config.header_timeout = Span::millis(100);
        config.idle_timeout = Span::millis(200);
    });
    let value = vec![7; 8 << 20];
    server.admin().put("/v1/cache/ns/large", "text/plain", &value).expect(204);
    let get = format!("GET /v1/cache/ns/large HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {ADMIN}\r\n\r\n");
    let mut stream = server.connect();
    stream.write_all(get.repeat(8).as_bytes()).unwrap();
    std::thread::sleep(Duration::from_secs(1));
    let mut read = Vec::new();
    let _ = stream.read_to_end(&mut read);
    assert!(read.len() < 8 * value.len(), "{} bytes came", read.len());
}

#[test]
fn too_much_is_refused_whether_it_is_declared_or_streamed() {
    let server = Server::with(|config| config.body_bytes_max = "1KiB".parse::<Size>().unwrap());
    let head = format!(
        "POST /v1/sessions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {ADMIN}\r\ncontent-type: application/json\r\n"
    );
    let declared = server.raw(format!("{head}content-length: 99999999999\r\n\r\n").as_bytes());
    assert_eq!(status(&declared), "413", "{declared}");
    let chunk = format!("400\r\n{}\r\n", "x".repeat(0x400));
    let streamed = server.raw(format!("{head}transfer-encoding: chunked\r\n\r\n{chunk}{chunk}").as_bytes());
    assert_eq!(status(&streamed), "413", "{streamed}");
}

#[test]
fn long_addresses_and_headers_are_refused() {
    let server = Server::start();
    let get = |path: &str, headers: &str| {
        let answer = server
            .raw(format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{headers}\r\n").as_bytes());
        status(&answer).to_owned()
    };
    assert_eq!(get("/livez", ""), "200");
    assert_eq!(get(&format!("/livez?{}", "x".repeat(9000)), ""), "414");
    assert_eq!(get("/livez", &format!("x: {}\r\n", "x".repeat(17_000))), "431");
    assert_eq!(get("/livez", &"x: y\r\n".repeat(101)), "431");
    assert_eq!(get("/livez", &format!("x: {}\r\n", "x".repeat(100_000))), "431");
}

#[test]
fn what_is_not_http_is_refused() {
    let server = Server::start();
    for bytes in [
        &b"*1\r\n$8\r\nFLUSHALL\r\n"[..],
        b"GET /livez HTTP/9.9\r\n\r\n",
        b"GET  /livez\r\n\r\n",
        b"POST /v1/sessions HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n",
        b"POST /v1/sessions HTTP/1.1\r\nhost: x\r\ncontent-length: -1\r\n\r\n",
        b"GET /livez HTTP/1.1\r\nhost : x\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc",
    ] {
        let answer = server.raw(bytes);
        assert!(answer.is_empty() || status(&answer) == "400", "{answer}");
    }
    server.anyone().get("/livez").expect(200);
}

#[test]
fn an_absolute_address_is_the_same_address() {
    let server = Server::start();
    let answer =
        server.raw(b"GET http://elsewhere.example/livez HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    assert_eq!(status(&answer), "200");
}

#[test]
fn a_request_id_is_kept_if_it_is_one() {
    let server = Server::start();
    let given = server.anyone().header("x-request-id", "trace-1");
    assert_eq!(given.get("/livez").expect(200).header("x-request-id"), "trace-1");
    let refused = given.get("/nowhere").expect(404);
    assert_eq!(refused.body["request_id"], "trace-1");
    for id in ["no good", "", &"x".repeat(129)] {
        let answer = server.anyone().header("x-request-id", id).get("/livez").expect(200);
        assert_eq!(answer.header("x-request-id").len(), 16, "{id}");
    }
}

#[test]
fn connections_are_bounded_in_all_and_by_address() {
    for by_address in [false, true] {
        let server = Server::with(|config| {
            let limit =
                if by_address { &mut config.connections_per_ip_max } else { &mut config.connections_max };
            *limit = 2;
        });
        let request = b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n";
        let mut held = [server.connect(), server.connect()];
        let mut buffer = [0; 1024];
        for stream in &mut held {
            stream.write_all(request).unwrap();
            assert!(stream.read(&mut buffer).unwrap() > 0);
        }
        let refused = server.raw(b"");
        assert_eq!(status(&refused), "503", "{refused}");
        assert!(refused.contains("retry-after: 1"));
        drop(held);
        let served = (0..500).any(|_| {
            std::thread::sleep(Duration::from_millis(5));
            status(&server.raw(b"GET /livez HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")) == "200"
        });
        assert!(served);
    }
}

#[test]
fn a_stop_answers_what_was_accepted_and_takes_nothing_new() {
    let mut server = Server::start();
    let body = br#"{"user":"alice"}"#;
    let head = format!(
        "POST /v1/sessions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {ADMIN}\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    let mut open = server.connect();
    open.write_all(head.as_bytes()).unwrap();
    open.write_all(&body[..5]).unwrap();
    // Another answer proves that the server has come so far as to see the first request.
    server.admin().get("/readyz").expect(200);
    std::thread::sleep(Duration::from_millis(50));
    let stopping = server.stop();
    let refused = (0..500).any(|_| {
        std::thread::sleep(Duration::from_millis(5));
        std::net::TcpStream::connect(server.address).is_err()
    });
    assert!(refused, "the server still accepts");
    open.write_all(&body[5..]).unwrap();
    let (_, answer) = closed_after(open, Instant::now());
    assert_eq!(status(&answer), "201", "{answer}");
    server.wait(stopping).unwrap();
}

#[test]
fn a_stop_does_not_wait_for_ever() {
    let mut server = Server::with(|config| config.drain_timeout = Span::millis(200));
    let mut open = server.connect();
    open.write_all(b"POST /v1/sessions HTTP/1.1\r\nhost: x\r\n").unwrap();
    server.admin().get("/readyz").expect(200);
    let start = Instant::now();
    let stopping = server.stop();
    server.wait(stopping).unwrap();
    assert!(start.elapsed() < Duration::from_secs(5));
}

#[test]
fn both_protocols_are_served() {
    let server = Server::start();
    let mut stream = server.connect();
    // The preface of HTTP/2 and an empty SETTINGS frame, which the server answers with its own.
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").unwrap();
    let mut frame = [0; 9];
    stream.read_exact(&mut frame).unwrap();
    assert_eq!(frame[3], 4, "{frame:?}");
}
