#!/bin/sh
# Writes the secrets of compose.yaml into the directory `secrets` beside it, or into the one that is named: random
# passwords and a token, and ClickHouse's users with their hashes. Existing files stay as they are, so that running it again harms
# nothing. The directory is yours alone; the files in it are readable, because a container's user is another one.
set -eu
umask 022
directory=${1:-$(dirname "$0")/secrets}
mkdir -p "$directory"
chmod 700 "$directory"
cd "$directory"

for name in clickhouse-password clickhouse-analyst-password grafana-admin-password otlp-token; do
    if [ ! -s "$name" ]; then
        head -c 24 /dev/urandom | od -An -v -tx1 | tr -d ' \n' >"$name.new"
        chmod 444 "$name.new"
        mv "$name.new" "$name"
    fi
done

hash_of() {
    sha256sum "$1" | cut -d ' ' -f 1
}

cat >clickhouse-users.xml.new <<END
<clickhouse>
    <profiles>
        <analyst>
            <readonly>2</readonly>
            <max_execution_time>60</max_execution_time>
            <max_threads>4</max_threads>
            <max_memory_usage>2000000000</max_memory_usage>
            <max_result_rows>10000000</max_result_rows>
            <max_result_bytes>1000000000</max_result_bytes>
            <max_concurrent_queries_for_user>4</max_concurrent_queries_for_user>
            <constraints>
                <max_execution_time><min>1</min><max>60</max></max_execution_time>
                <max_threads><min>1</min><max>4</max></max_threads>
                <max_memory_usage><min>1</min><max>2000000000</max></max_memory_usage>
                <max_result_rows><min>1</min><max>10000000</max></max_result_rows>
                <max_result_bytes><min>1</min><max>1000000000</max></max_result_bytes>
                <max_concurrent_queries_for_user><min>1</min><max>4</max></max_concurrent_queries_for_user>
            </constraints>
        </analyst>
    </profiles>
    <users>
        <default remove="remove"/>
        <endpoint_analytics>
            <password_sha256_hex>$(hash_of clickhouse-password)</password_sha256_hex>
            <networks><ip>::/0</ip></networks>
            <profile>default</profile>
            <quota>default</quota>
        </endpoint_analytics>
        <analyst>
            <password_sha256_hex>$(hash_of clickhouse-analyst-password)</password_sha256_hex>
            <networks><ip>::/0</ip></networks>
            <profile>analyst</profile>
            <quota>default</quota>
            <grants><query>GRANT SELECT ON endpoint_analytics.*</query></grants>
        </analyst>
    </users>
</clickhouse>
END
chmod 444 clickhouse-users.xml.new
mv -f clickhouse-users.xml.new clickhouse-users.xml
