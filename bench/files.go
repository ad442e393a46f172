package main

import (
	"os"
	"path/filepath"
	"strings"
)

// writeFiles writes the content of the origin and the settings of everybody.
// The peers are set as they are run for speed: one worker, no access log,
// connections to the origin kept.
func writeFiles(dir string) error {
	files := map[string]string{
		"www/1k":      strings.Repeat("n", 1<<10),
		"www/64k":     strings.Repeat("n", 64<<10),
		"origin.conf": originConf, "nginx.conf": nginxConf, "haproxy.cfg": haproxyConf, "Caddyfile": caddyConf, "varnish.vcl": varnishConf,
		"node.yaml": nodeConf, "pass.yaml": passConf, "hit.yaml": hitConf,
	}
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, []byte(strings.ReplaceAll(text, "DIR", dir)), 0o644); err != nil {
			return err
		}
	}
	return os.Chmod(dir, 0o755) // nginx's worker may be another user
}

const originConf = `
worker_processes 1; daemon off; master_process off; pid DIR/origin.pid; error_log DIR/origin.error.log;
events { worker_connections 8192; multi_accept on; }
http {
  access_log off; sendfile off; tcp_nodelay on; keepalive_requests 1000000000; default_type text/plain;
  open_file_cache max=100; open_file_cache_valid 600s; client_body_temp_path DIR/ot1; proxy_temp_path DIR/ot2;
  fastcgi_temp_path DIR/ot3; uwsgi_temp_path DIR/ot4; scgi_temp_path DIR/ot5;
  server { listen 127.0.0.1:9901 backlog=4096; root DIR/www; add_header Cache-Control "public, max-age=86400"; }
}
`

const nginxConf = `
worker_processes 1; daemon off; master_process off; pid DIR/nginx.pid; error_log DIR/nginx.error.log; worker_rlimit_nofile 20000;
events { worker_connections 16384; multi_accept on; }
http {
  access_log off; sendfile on; tcp_nopush off; tcp_nodelay on; keepalive_timeout 75s; keepalive_requests 1000000000;
  client_body_temp_path DIR/t1; proxy_temp_path DIR/t2; fastcgi_temp_path DIR/t3; uwsgi_temp_path DIR/t4; scgi_temp_path DIR/t5;
  open_file_cache max=10000 inactive=600s; open_file_cache_valid 600s;
  proxy_cache_path DIR/cache levels=1:2 keys_zone=c:16m max_size=1g inactive=1d use_temp_path=off;
  upstream origin { server 127.0.0.1:9901; keepalive 256; keepalive_requests 1000000000; }
  proxy_http_version 1.1; proxy_set_header Connection ""; proxy_set_header Host $host; proxy_set_header X-Forwarded-For $remote_addr;
  proxy_buffers 16 16k; proxy_buffer_size 16k;
  ssl_certificate DIR/cert.pem; ssl_certificate_key DIR/key.pem; ssl_protocols TLSv1.2 TLSv1.3;
  server { listen 127.0.0.1:9921 backlog=4096; listen 127.0.0.1:9923 ssl; location / { proxy_pass http://origin; } }
  server { listen 127.0.0.1:9922 backlog=4096; listen 127.0.0.1:9924 ssl;
    location / { proxy_pass http://origin; proxy_cache c; proxy_cache_valid 200 1d; }
    location /1k { sendfile off; proxy_pass http://origin; proxy_cache c; proxy_cache_valid 200 1d; } }
}
`

const haproxyConf = `
global
  nbthread 1
  maxconn 9000
  tune.bufsize 131072
defaults
  mode http
  timeout client 75s
  timeout server 75s
  timeout connect 5s
  option http-keep-alive
  http-reuse always
cache c
  total-max-size 64
  max-object-size 1000000
  max-age 86400
backend stored
  http-request cache-use c
  http-response cache-store c
  server o 127.0.0.1:9901 pool-max-conn 1000
backend direct
  option forwardfor
  server o 127.0.0.1:9901 pool-max-conn 1000
frontend pass
  bind 127.0.0.1:9931
  bind 127.0.0.1:9933 ssl crt DIR/both.pem
  default_backend direct
frontend hit
  bind 127.0.0.1:9932
  bind 127.0.0.1:9934 ssl crt DIR/both.pem
  default_backend stored
`

const varnishConf = `
vcl 4.1;
backend default { .host = "127.0.0.1"; .port = "9901"; }
sub vcl_recv { return (hash); }
sub vcl_backend_response { set beresp.ttl = 1d; }
`

const caddyConf = `
{
	admin off
	auto_https off
	log {
		level ERROR
	}
}
http://:9941 {
	reverse_proxy 127.0.0.1:9901 {
		transport http {
			keepalive_idle_conns_per_host 1000
			keepalive_idle_conns 1000
			compression off
		}
	}
}
https://:9943 {
	tls DIR/cert.pem DIR/key.pem
	reverse_proxy 127.0.0.1:9901 {
		transport http {
			keepalive_idle_conns_per_host 1000
			keepalive_idle_conns 1000
			compression off
		}
	}
}
`

const nodeConf = `
name: bench
listen:
  - {address: 127.0.0.1:9911}
  - {address: 127.0.0.1:9912}
  - {address: 127.0.0.1:9913, tls: true}
  - {address: 127.0.0.1:9914, tls: true}
admin: {address: "off"}
data: DIR/data
access_log: "off"
tls: {certificates: [{certificate: DIR/cert.pem, key: DIR/key.pem}]}
`

const passConf = `
service: pass
hosts: ["127.0.0.1", bench]
origins: {web: {endpoints: [http://127.0.0.1:9901]}}
routes: [{match: {path: /*}, origin: web}]
`

const hitConf = `
service: hit
hosts: [hit]
origins: {web: {endpoints: [http://127.0.0.1:9901]}}
routes: [{match: {path: /*}, origin: web, cache: {}}]
`
