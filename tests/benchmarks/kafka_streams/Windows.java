import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.IOException;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.Base64;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.concurrent.ExecutionException;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.consumer.ConsumerConfig;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.errors.TopicExistsException;
import org.apache.kafka.common.serialization.Deserializer;
import org.apache.kafka.common.serialization.Serde;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.common.serialization.Serializer;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.kafka.common.utils.Bytes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.KeyValue;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.errors.StreamsUncaughtExceptionHandler.StreamThreadExceptionResponse;
import org.apache.kafka.streams.kstream.Consumed;
import org.apache.kafka.streams.kstream.Grouped;
import org.apache.kafka.streams.kstream.Materialized;
import org.apache.kafka.streams.kstream.Produced;
import org.apache.kafka.streams.kstream.TimeWindows;
import org.apache.kafka.streams.kstream.Windowed;
import org.apache.kafka.streams.state.WindowStore;

/**
 * A peer of the live benchmark: a windowed aggregation of Kafka Streams (RocksDB, a changelog, a cache that is flushed
 * once a second) into a topic, and a consumer that inserts its windows once a second into a ReplacingMergeTree, as Kafka
 * Connect would from a process of its own.
 */
public final class Windows {
    static final ObjectMapper JSON = new ObjectMapper();
    static final double SCALE = 64 / Math.log(2); // a relative error of 0.54 %, as ours

    /** What is known of a replica's window. */
    public static final class Window {
        public long requests;
        public long latencySumUs;
        public Map<Integer, Long> statuses = new HashMap<>();
        public Map<Integer, Long> latency = new HashMap<>();
        public Map<Integer, Long> ttfb = new HashMap<>();

        Window add(JsonNode request) {
            long latencyUs = request.get("latency_us").asLong();
            requests++;
            latencySumUs += latencyUs;
            statuses.merge(request.get("status").asInt(), 1L, Long::sum);
            latency.merge(bucket(latencyUs), 1L, Long::sum);
            ttfb.merge(bucket(request.get("ttfb_us").asLong()), 1L, Long::sum);
            return this;
        }

        private static int bucket(long us) {
            return (int) Math.ceil(Math.log(us) * SCALE);
        }
    }

    /** Inserts what changed into ClickHouse, once a second, and commits after that; an error ends the application. */
    static final class Sink implements Runnable {
        private final Properties settings = new Properties();
        private final String topic;
        private final HttpClient http = HttpClient.newHttpClient();
        private final HttpRequest.Builder insert;

        Sink(String brokers, String topic) {
            this.topic = topic;
            settings.put(ConsumerConfig.BOOTSTRAP_SERVERS_CONFIG, brokers);
            settings.put(ConsumerConfig.GROUP_ID_CONFIG, "streams-sink");
            settings.put(ConsumerConfig.GROUP_INSTANCE_ID_CONFIG, "streams-sink-1");
            settings.put(ConsumerConfig.ENABLE_AUTO_COMMIT_CONFIG, false);
            settings.put(ConsumerConfig.AUTO_OFFSET_RESET_CONFIG, "earliest");
            settings.put(ConsumerConfig.ISOLATION_LEVEL_CONFIG, "read_committed");
            settings.put(ConsumerConfig.MAX_POLL_RECORDS_CONFIG, 10_000);
            String login = "default:" + System.getenv("ENDPOINT_ANALYTICS_CLICKHOUSE_PASSWORD");
            String query = "INSERT%20INTO%20streams_windows%20FORMAT%20JSONEachRow";
            insert = HttpRequest.newBuilder(URI.create(System.getenv("ENDPOINT_ANALYTICS_CLICKHOUSE_URL")
                    + "/?database=endpoint_analytics&query=" + query))
                .header("Authorization", "Basic "
                    + Base64.getEncoder().encodeToString(login.getBytes(StandardCharsets.UTF_8)));
        }

        @Override
        public void run() {
            try (var consumer = new KafkaConsumer<>(settings, new StringDeserializer(), new StringDeserializer())) {
                consumer.subscribe(List.of(topic));
                Map<String, String> changed = new HashMap<>();
                long nextMs = System.currentTimeMillis() + 1000;
                while (true) {
                    consumer.poll(Duration.ofMillis(100)).forEach(
                        record -> changed.put(record.key(), record.value()));
                    if (System.currentTimeMillis() >= nextMs && !changed.isEmpty()) {
                        write(String.join("\n", changed.values()));
                        consumer.commitSync();
                        changed.clear();
                        nextMs = System.currentTimeMillis() + 1000;
                    }
                }
            } catch (Exception error) {
                error.printStackTrace();
                Runtime.getRuntime().halt(1);
            }
        }

        private void write(String rows) throws IOException, InterruptedException {
            HttpResponse<String> response = http.send(
                insert.copy().POST(HttpRequest.BodyPublishers.ofString(rows)).build(),
                HttpResponse.BodyHandlers.ofString());
            if (response.statusCode() != 200) {
                throw new IllegalStateException(response.body());
            }
        }
    }

    private static KeyValue<String, String> row(Windowed<String> key, Window window) {
        String[] names = key.key().split(" ");
        ObjectNode row = JSON.createObjectNode();
        row.put("endpoint", names[0]).put("replica_id", names[1]).put("version", System.currentTimeMillis());
        row.put("window", key.window().start() / 1000);
        row.put("requests", window.requests).put("latency_sum_us", window.latencySumUs);
        row.set("statuses", JSON.valueToTree(window.statuses));
        row.set("latency", JSON.valueToTree(window.latency));
        row.set("ttfb", JSON.valueToTree(window.ttfb));
        return KeyValue.pair(key.key() + " " + key.window().start(), row.toString());
    }

    private static <T> Serde<T> json(Class<T> type) {
        Serializer<T> serializer = (topic, value) -> {
            try {
                return value == null ? null : JSON.writeValueAsBytes(value);
            } catch (IOException error) {
                throw new IllegalStateException(error);
            }
        };
        Deserializer<T> deserializer = (topic, bytes) -> {
            try {
                return bytes == null ? null : JSON.readValue(bytes, type);
            } catch (IOException error) {
                throw new IllegalStateException(error);
            }
        };
        return Serdes.serdeFrom(serializer, deserializer);
    }

    public static void main(String[] words) throws Exception {
        Properties settings = new Properties();
        settings.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, words[0]);
        settings.put(StreamsConfig.APPLICATION_ID_CONFIG, "streams-windows");
        settings.put(StreamsConfig.STATE_DIR_CONFIG, words[2]);
        settings.put(StreamsConfig.PROCESSING_GUARANTEE_CONFIG, words[3]);
        settings.put(StreamsConfig.COMMIT_INTERVAL_MS_CONFIG, 1000);
        settings.put(StreamsConfig.NUM_STREAM_THREADS_CONFIG, 1);
        settings.put(ConsumerConfig.GROUP_INSTANCE_ID_CONFIG, "streams-1");
        settings.put(ConsumerConfig.AUTO_OFFSET_RESET_CONFIG, "earliest");
        String output = words[1] + "-windows";
        try (Admin admin = Admin.create(Map.<String, Object>of("bootstrap.servers", words[0]))) {
            admin.createTopics(List.of(new NewTopic(output, 8, (short) 1))).all().get();
        } catch (ExecutionException error) {
            if (!(error.getCause() instanceof TopicExistsException)) {
                throw error;
            }
        }
        StreamsBuilder builder = new StreamsBuilder();
        Duration window = Duration.ofSeconds(10);
        builder
            .stream(words[1], Consumed.with(Serdes.String(), json(JsonNode.class))
                .withTimestampExtractor((record, time) -> ((JsonNode) record.value()).get("at_ms").asLong()))
            .groupByKey(Grouped.with(Serdes.String(), json(JsonNode.class)))
            .windowedBy(TimeWindows.ofSizeAndGrace(window, Duration.ofMinutes(1)))
            .aggregate(Window::new, (key, request, seen) -> seen.add(request),
                Materialized.<String, Window, WindowStore<Bytes, byte[]>>as("windows")
                    .withKeySerde(Serdes.String()).withValueSerde(json(Window.class))
                    .withRetention(Duration.ofMinutes(2)))
            .toStream()
            .map(Windows::row)
            .to(output, Produced.with(Serdes.String(), Serdes.String()));
        KafkaStreams streams = new KafkaStreams(builder.build(), settings);
        Runtime.getRuntime().addShutdownHook(new Thread(streams::close));
        streams.setUncaughtExceptionHandler(error -> {
            error.printStackTrace();
            return StreamThreadExceptionResponse.SHUTDOWN_CLIENT;
        });
        streams.start();
        new Thread(new Sink(words[0], output)).start();
        System.out.println("ready");
    }
}
