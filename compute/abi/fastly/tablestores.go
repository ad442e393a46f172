package fastly

func cacheTable() []Function {
	return module("fastly_cache",
		row("lookup", "iiiii", cacheLookup),
		row("insert", "iiiii", cacheInsert),
		waits("transaction_lookup", "iiiii", cacheTransact(true)),
		row("transaction_lookup_async", "iiiii", cacheTransact(false)),
		waits("cache_busy_handle_wait", "ii", cacheBusyWait),
		row("close_busy", "i", cacheClose),
		row("transaction_insert", "iiii", cacheTransactInsert(false)),
		row("transaction_insert_and_stream_back", "iiiii", cacheTransactInsert(true)),
		row("transaction_update", "iii", onCache(cacheTransactUpdate)),
		row("transaction_cancel", "i", onCache(cacheCancel)),
		row("close", "i", cacheClose),
		row("get_state", "ii", onCache(cacheState)),
		row("get_user_metadata", "iiii", onFound(foundUser)),
		row("get_body", "iiii", onFound(cacheBody)),
		row("get_length", "ii", foundNumber(foundLength)),
		row("get_max_age_ns", "ii", foundNumber(foundMaxAge)),
		row("get_stale_while_revalidate_ns", "ii", foundNumber(foundStale)),
		row("get_age_ns", "ii", foundNumber(foundAge)),
		row("get_hits", "ii", foundNumber(foundHits)),
	)
}

func replaceTable() []Function {
	const why = "a transaction's update and insertion do it"
	return module("fastly_cache",
		absent("replace", "iiiii", why),
		absent("replace_insert", "iiii", why),
		absent("replace_get_age_ns", "ii", why),
		absent("replace_get_body", "iiii", why),
		absent("replace_get_hits", "ii", why),
		absent("replace_get_length", "ii", why),
		absent("replace_get_max_age_ns", "ii", why),
		absent("replace_get_stale_while_revalidate_ns", "ii", why),
		absent("replace_get_state", "ii", why),
		absent("replace_get_user_metadata", "iiii", why),
	)
}

func httpCacheTable() []Function {
	const why = "where the node lets functions cache answers; else it is unsupported, and programs leave caching to the edge"
	return module("fastly_http_cache",
		row("is_request_cacheable", "ii", httpCacheable).but(why),
		row("get_suggested_cache_key", "iiii", httpSuggestedKey),
		row("lookup", "iiii", httpLookup(false)),
		waits("transaction_lookup", "iiii", httpLookup(true)),
		row("transaction_insert", "iiiii", httpInsert(false)),
		row("transaction_insert_and_stream_back", "iiiiii", httpInsert(true)),
		row("transaction_update", "iiii", httpUpdate(false)),
		row("transaction_update_and_return_fresh", "iiiii", httpUpdate(true)),
		row("transaction_choose_stale", "i", onHTTPCache(httpChooseStale)),
		row("transaction_record_not_cacheable", "iii", onHTTPCache(httpNotCacheable)),
		row("transaction_abandon", "i", onHTTPCache(cacheCancel)),
		row("close", "i", cacheClose),
		row("get_suggested_backend_request", "ii", onHTTPCache(httpBackendRequest)),
		row("get_suggested_cache_options", "iiiiii", onHTTPCache(httpSuggested)),
		row("prepare_response_for_storage", "iiii", onHTTPCache(httpPrepare)),
		row("get_found_response", "iiii", onFound(httpFound)),
		row("get_state", "ii", onHTTPCache(cacheState)),
		row("get_length", "ii", foundNumber(foundLength)),
		row("get_max_age_ns", "ii", foundNumber(foundMaxAge)),
		row("get_stale_while_revalidate_ns", "ii", foundNumber(foundStale)),
		row("get_stale_if_error_ns", "ii", foundNumber(foundIfError)),
		row("get_age_ns", "ii", foundNumber(foundAge)),
		row("get_hits", "ii", foundNumber(foundHits)),
		row("get_sensitive_data", "ii", onFound(httpSensitiveGet)),
		row("get_surrogate_keys", "iiii", onFound(httpKeysGet)),
		row("get_vary_rule", "iiii", onFound(httpVaryGet)),
	)
}

func storeTable() []Function {
	var out []Function
	for _, name := range []string{"fastly_dictionary", "fastly_config_store"} {
		out = append(out, module(name, row("open", "iii", configOpen), row("get", "iiiiii", configGet))...)
	}
	out = append(out, module("fastly_secret_store",
		row("open", "iii", secretsOpen).but("the stores that the service was granted"),
		row("get", "iiii", secretsGet),
		row("plaintext", "iiii", secretPlaintext),
		row("from_bytes", "iii", secretFromBytes),
	)...)
	return append(out, module("fastly_acl",
		row("open", "iii", aclOpen),
		row("lookup", "iiiii", aclLookup),
	)...)
}

func kvTable() []Function {
	return module("fastly_kv_store",
		row("open", "iii", kvOpen),
		row("lookup", "iiiiii", kvLookupStart(5)),
		waits("lookup_wait", "iiiiiii", kvLookupWait(false)),
		waits("lookup_wait_v2", "iiiiiii", kvLookupWait(true)),
		waits("insert", "iiiiiii", kvInsertStart),
		waits("insert_wait", "ii", kvWait(kvInsert, kvDone(1))),
		row("delete", "iiiiii", kvDeleteStart(5)),
		waits("delete_wait", "ii", kvWait(kvDelete, kvDone(1))),
		row("list", "iiii", kvListStart),
		waits("list_wait", "iii", kvListWait),
	)
}

// objectTable is the older way to KV stores.
func objectTable() []Function {
	return module("fastly_object_store",
		row("open", "iii", kvOpen),
		waits("lookup", "iiii", objectLookup),
		row("lookup_async", "iiii", kvLookupStart(3)),
		waits("pending_lookup_wait", "ii", objectWait(kvLookup)),
		waits("insert", "iiii", objectInsert),
		waits("insert_async", "iiiii", objectInsertStart(4)),
		waits("pending_insert_wait", "i", objectWait(kvInsert)),
		row("delete_async", "iiii", kvDeleteStart(3)),
		waits("pending_delete_wait", "i", objectWait(kvDelete)),
	)
}

func aroundTable() []Function {
	const byAgent = "by the User-Agent: a table of the user's, or what it says itself"
	const agentOnly = "what the User-Agent says, and no more"
	const counted = "each node counts for itself"
	var out []Function
	add := func(name string, functions ...Function) { out = append(out, module(name, functions...)...) }
	add("fastly_async_io", waits("select", "iiii", asyncSelect), row("is_ready", "ii", asyncIsReady))
	add("fastly_log", row("endpoint_get", "iii", logEndpoint), row("write", "iiii", logWrite))
	add("fastly_geo", row("lookup", "iiiii", geoLookup).but("with a database of the user's; else there is none"))
	add("fastly_device_detection", row("lookup", "iiiii", deviceLookup).but(byAgent))
	add("fastly_uap", row("parse", "iiiiiiiiiiiiii", uapParse).but(agentOnly))
	add("fastly_erl",
		row("check_rate", "iiiiiiiiiii", onRate(checkRate)).but(counted),
		row("ratecounter_increment", "iiiii", onRate(rateIncrement)).but(counted),
		row("ratecounter_lookup_rate", "iiiiii", onRate(rateLookup)).but(counted),
		row("ratecounter_lookup_count", "iiiiii", onRate(rateCountLookup)).but(counted),
		row("penaltybox_add", "iiiii", onRate(boxAdd)).but(counted),
		row("penaltybox_has", "iiiii", onRate(boxHas)).but(counted),
	)
	add("fastly_purge", waits("purge_surrogate_key", "iiii", purgeKey))
	add("fastly_compute_runtime", row("get_vcpu_ms", "i", vcpuMS), row("get_heap_mib", "i", heapMiB))
	add("fastly_image_optimizer", absent("transform_image_optimizer_request", "iiiiiiiii", "there is no image optimiser"))
	add("fastly_shielding",
		none("shield_info", "iiiii", "there are no shields", shieldInfo),
		absent("backend_for_shield", "iiiiiii", "there are no shields"),
	)
	return out
}
