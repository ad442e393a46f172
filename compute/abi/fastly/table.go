package fastly

import "slices"

// Table is every function of the interface, by module. It is made anew for each caller.
func Table() []Function {
	return slices.Concat(
		module("fastly_abi", row("init", "l", abiInit)),
		bodyTable(), requestTable(), sendTable(), responseTable(), downstreamTable(), olderDownstreamTable(),
		backendTable(), cacheTable(), replaceTable(), httpCacheTable(), storeTable(), kvTable(), objectTable(), aroundTable(),
	)
}

// module fills in the module of its functions.
func module(name string, functions ...Function) []Function {
	for i := range functions {
		functions[i].Module = name
	}
	return functions
}

// row is a function that works.
func row(name, params string, do func(*call) Status) Function {
	return Function{Name: name, Params: params, Support: Works, call: do}
}

// waits is a function that works, and may wait.
func waits(name, params string, do func(*call) Status) Function {
	f := row(name, params, do)
	f.Waits = true
	return f
}

// but adds what is not as a program may expect.
func (f Function) but(note string) Function {
	f.Support, f.Note = Partly, note
	return f
}

// none is a function whose answer is that there is none, or no.
func none(name, params, why string, do func(*call) Status) Function {
	return Function{Name: name, Params: params, Support: Nothing, Note: why, call: do}
}

// absent is a function that is unsupported.
func absent(name, params, why string) Function {
	return Function{Name: name, Params: params, Support: Absent, Note: why, call: func(*call) Status { return Unsupported }}
}

func bodyTable() []Function {
	return module("fastly_http_body",
		row("new", "i", bodyNew),
		waits("append", "ii", bodyAppend),
		waits("read", "iiii", onBody(bodyRead)),
		row("write", "iiiii", onBody(bodyWrite)),
		row("close", "i", onBody(bodyClose)),
		row("abandon", "i", onBody(bodyAbandon)),
		row("known_length", "ii", onBody(bodyKnownLength)),
		row("trailer_append", "iiiii", onBody(trailerAppend)),
		row("trailer_names_get", "iiiiii", onTrailers((*call).headerNames)),
		row("trailer_value_get", "iiiiii", onTrailers((*call).headerValue)),
		row("trailer_values_get", "iiiiiiii", onTrailers((*call).headerValues)),
	)
}

const (
	noWebSocket = "a route takes WebSockets to an origin, not a function"
	noFanout    = "there is no fanout"
	noOthers    = "a function acts for its own service only"
)

func requestTable() []Function {
	return module("fastly_http_req",
		row("body_downstream_get", "ii", bodyDownstreamGet),
		row("new", "i", requestNew),
		row("close", "i", requestClose),
		row("method_get", "iiii", onRequest(methodGet)),
		row("method_set", "iii", onRequest(methodSet)),
		row("uri_get", "iiii", onRequest(uriGet)),
		row("uri_set", "iii", onRequest(uriSet)),
		row("version_get", "ii", onRequest(requestVersionGet)),
		row("version_set", "ii", onRequest(requestVersionSet)).but("which version an origin is spoken to in is the edge's business"),
		row("header_names_get", "iiiiii", onRequestFields((*call).headerNames)),
		row("header_value_get", "iiiiii", onRequestFields((*call).headerValue)),
		row("header_values_get", "iiiiiiii", onRequestFields((*call).headerValues)),
		row("header_values_set", "iiiii", onRequestFields((*call).headerValuesSet)),
		row("header_insert", "iiiii", onRequestFields((*call).headerInsert)),
		row("header_append", "iiiii", onRequestFields((*call).headerAppend)),
		row("header_remove", "iii", onRequestFields((*call).headerRemove)),
		row("cache_override_set", "iiii", onRequest(cacheOverrideSet)),
		row("cache_override_v2_set", "iiiiii", onRequest(cacheOverrideSetKeys)),
		row("auto_decompress_response_set", "ii", onRequest(autoDecompressSet)),
		row("framing_headers_mode_set", "ii", onRequest(requestFramingSet)),
		waits("register_dynamic_backend", "iiiiii", registerBackend).but("by the node's leave only, its name for one request; no health checks are made; ciphers of TLS 1.2 are those with ECDHE"),
		absent("upgrade_websocket", "ii", noWebSocket),
		absent("redirect_to_websocket_proxy", "ii", noWebSocket),
		absent("redirect_to_websocket_proxy_v2", "iii", noWebSocket),
		absent("redirect_to_grip_proxy", "ii", noFanout),
		absent("redirect_to_grip_proxy_v2", "iii", noFanout),
		absent("inspect", "iiiiiii", "there is no such firewall behind it"),
		absent("on_behalf_of", "iii", noOthers),
	)
}

func sendTable() []Function {
	streaming, uncached := sendOptions{streaming: true}, sendOptions{uncached: true}
	insert := func(h *header, name, value string) { h.set(name, value) }
	add := func(h *header, name, value string) { h.append(name, value) }
	remove := func(h *header, name, _ string) { h.remove(name) }
	return module("fastly_http_req",
		waits("send", "iiiiii", sendAndWait(sendOptions{}, -1, 4)),
		waits("send_v2", "iiiiiii", sendAndWait(sendOptions{}, 4, 5)),
		waits("send_v3", "iiiiiii", sendAndWait(uncached, 4, 5)),
		waits("send_async", "iiiii", sendAsync(sendOptions{}, 4)),
		waits("send_async_streaming", "iiiii", sendAsync(streaming, 4)),
		waits("send_async_v2", "iiiiii", sendAsync(uncached, 5)),
		waits("pending_req_poll", "iiii", pendingPoll(-1, 1)),
		waits("pending_req_poll_v2", "iiiii", pendingPoll(1, 2)),
		waits("pending_req_wait", "iii", pendingWait(-1, 1)),
		waits("pending_req_wait_v2", "iiii", pendingWait(1, 2)),
		waits("pending_req_select", "iiiii", pendingSelect(-1, 2)),
		waits("pending_req_select_v2", "iiiiii", pendingSelect(2, 3)),
		row("pending_req_header_insert", "iiiiii", pendingChange(5, insert)),
		row("pending_req_header_append", "iiiiii", pendingChange(5, add)),
		row("pending_req_header_remove", "iiii", pendingChange(3, remove)),
	)
}

func responseTable() []Function {
	return module("fastly_http_resp",
		row("new", "i", responseNew),
		row("close", "i", responseClose),
		row("status_get", "ii", onResponse(statusGet)),
		row("status_set", "ii", onResponse(statusSet)),
		row("version_get", "ii", onResponse(responseVersionGet)),
		row("version_set", "ii", onResponse(responseVersionSet)).but("which version a client is spoken to in is the edge's business"),
		row("header_names_get", "iiiiii", onResponseFields((*call).headerNames)),
		row("header_value_get", "iiiiii", onResponseFields((*call).headerValue)),
		row("header_values_get", "iiiiiiii", onResponseFields((*call).headerValues)),
		row("header_values_set", "iiiii", onResponseFields((*call).headerValuesSet)),
		row("header_insert", "iiiii", onResponseFields((*call).headerInsert)),
		row("header_append", "iiiii", onResponseFields((*call).headerAppend)),
		row("header_remove", "iii", onResponseFields((*call).headerRemove)),
		row("framing_headers_mode_set", "ii", onResponse(responseFramingSet)),
		row("http_keepalive_mode_set", "ii", onResponse(keepaliveSet)).but("the connection is the edge's: only automatic"),
		row("get_addr_dest_ip", "iii", onResponse(originAddress)),
		row("get_addr_dest_port", "ii", onResponse(originPort)),
		row("send_downstream", "iii", sendDownstream),
		waits("send_downstream_pending", "i", sendDownstreamPending),
	)
}

const (
	noFrames     = "the edge keeps no frames of HTTP/2"
	noFieldPrint = "how it is made is nowhere published"
	noBots       = "nobody looks for bots here"
	noProxies    = "there is no list of proxies here"
	noDDoS       = "nobody looks for attacks here"
	noVisits     = "there is no such count"
	noKeys       = "there are no Fastly API keys here"
	oneRequest   = "where the function says reuse; else a program is told that no other request comes"
)

func downstreamTable() []Function {
	no := aboutClient(noOfClient)
	unknown := aboutClient(noneOfClient)
	out := []Function{
		row("next_request", "iii", nextRequest).but(oneRequest),
		waits("next_request_wait", "iii", nextRequestWait).but(oneRequest),
		row("next_request_abandon", "i", nextRequestAbandon),
		row("downstream_original_header_names", "iiiiii", aboutClient(originalNames)).but("over HTTP/2 in the order of the alphabet"),
		row("downstream_original_header_count", "ii", aboutClient(originalCount)),
		row("downstream_client_ip_addr", "iii", aboutClient(clientAddress)),
		row("downstream_server_ip_addr", "iii", aboutClient(serverAddress)),
		row("downstream_client_request_id", "iiii", aboutClient(requestID)),
		row("downstream_compliance_region", "iiii", aboutClient(complianceRegion)).but("the node's region"),
		row("downstream_tls_cipher_openssl_name", "iiii", tlsFact(cipherName)),
		row("downstream_tls_protocol", "iiii", tlsFact(tlsProtocol)),
		row("downstream_tls_client_servername", "iiii", tlsFact(serverName)),
		row("downstream_tls_raw_client_certificate", "iiii", tlsFact(clientCertificate)),
		row("downstream_tls_client_cert_verify_result", "ii", aboutClient(clientCertificateResult)),
		row("downstream_tls_client_hello", "iiii", aboutClient(rawHello)),
		row("downstream_tls_ja3_md5", "iii", aboutClient(helloMD5)),
		row("downstream_tls_ja4", "iiii", helloFact((*clientHello).ja4)),
		none("downstream_client_h2_fingerprint", "iiii", noFrames, unknown),
		none("downstream_client_oh_fingerprint", "iiii", noFieldPrint, unknown),
		none("downstream_client_ddos_detected", "ii", noDDoS, no),
		none("fastly_key_is_valid", "ii", noKeys, no),
		none("downstream_bot_analyzed", "ii", noBots, no),
		none("downstream_bot_detected", "ii", noBots, no),
		none("downstream_bot_name", "iiii", noBots, unknown),
		none("downstream_bot_category", "iiii", noBots, unknown),
		none("downstream_bot_category_kind", "ii", noBots, unknown),
		none("downstream_bot_verified", "ii", noBots, unknown),
		absent("downstream_visits_this_service", "i", noVisits),
		absent("downstream_visits_this_pop", "i", noVisits),
		none("downstream_resvpnproxy_vpn_service_name", "iiii", noProxies, unknown),
	}
	for _, what := range []string{
		"anonymous", "anonymous_vpn", "hosting_provider", "proxy_over_vpn", "public_proxy", "relay_proxy", "residential_proxy",
		"smart_dns_proxy", "tor_exit_node", "vpn_datacenter",
	} {
		out = append(out, none("downstream_resvpnproxy_is_"+what, "ii", noProxies, unknown))
	}
	return module("fastly_http_downstream", out...)
}

// olderDownstreamTable are the functions that name no request.
func olderDownstreamTable() []Function {
	var out []Function
	names := map[string]string{"downstream_original_header_names": "original_header_names_get", "downstream_original_header_count": "original_header_count"}
	skip := []string{"next_request", "next_request_wait", "next_request_abandon", "downstream_tls_client_servername"}
	for _, f := range downstreamTable() {
		switch {
		case f.Support == Absent, slices.Contains(skip, f.Name), f.Note == noBots, f.Note == noProxies:
			continue
		case names[f.Name] != "":
			f.Name = names[f.Name]
		}
		f.Params, f.call = f.Params[1:], shifted(f.call)
		out = append(out, f)
	}
	return module("fastly_http_req", out...)
}

func backendTable() []Function {
	return module("fastly_backend",
		row("exists", "iii", backendExists),
		row("is_healthy", "iii", backendNumber(backendHealth)),
		row("is_dynamic", "iii", backendNumber(backendDynamic)),
		row("is_ssl", "iii", backendNumber(backendTLS)),
		row("get_host", "iiiii", onBackend(backendHost)),
		row("get_override_host", "iiiii", onBackend(backendOverrideHost)),
		row("get_port", "iii", onBackend(backendPort)),
		row("get_connect_timeout_ms", "iii", backendNumber(backendConnect)),
		row("get_first_byte_timeout_ms", "iii", backendNumber(backendFirstByte)),
		row("get_between_bytes_timeout_ms", "iii", backendNumber(backendBetweenBytes)),
		row("get_http_keepalive_time", "iii", backendNumber(backendIdle)),
		row("get_tcp_keepalive_enable", "iii", backendNumber(backendKeepAlive)),
		row("get_tcp_keepalive_interval", "iii", keepAliveNumber(keepAliveInterval)),
		row("get_tcp_keepalive_probes", "iii", keepAliveNumber(keepAliveProbes)),
		row("get_tcp_keepalive_time", "iii", keepAliveNumber(keepAliveTime)),
		row("get_ssl_min_version", "iii", backendNumber(backendMinTLS)),
		row("get_ssl_max_version", "iii", backendNumber(backendMaxTLS)),
	)
}
