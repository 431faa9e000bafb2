//! An OpenTelemetry collector in this process: takes OTLP over gRPC from all programs of a story and keeps what it got.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use opentelemetry_proto::tonic::collector::logs::v1::logs_service_server::{
    LogsService, LogsServiceServer,
};
use opentelemetry_proto::tonic::collector::logs::v1::{
    ExportLogsServiceRequest, ExportLogsServiceResponse,
};
use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_server::{
    MetricsService, MetricsServiceServer,
};
use opentelemetry_proto::tonic::collector::metrics::v1::{
    ExportMetricsServiceRequest, ExportMetricsServiceResponse,
};
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use tonic::{Request, Response, Status};

/// One span as received.
#[derive(Debug, Clone)]
pub struct ReceivedSpan {
    /// The program that made it.
    pub service: String,
    /// Its name.
    pub name: String,
    /// Trace id, hex.
    pub trace: String,
    /// Span id, hex.
    pub id: String,
    /// The parent's span id, hex; empty: a root.
    pub parent: String,
    /// Attributes with text values.
    pub attributes: Vec<(String, String)>,
}

#[derive(Debug, Default)]
struct Received {
    spans: Vec<ReceivedSpan>,
    logs: Vec<String>,
    metrics: Vec<String>,
    /// Every request as text, with all its attributes and values, to be searched for secrets.
    everything: String,
}

#[derive(Clone, Default)]
struct Sink(Arc<Mutex<Received>>);

/// Listens on a free port of the loopback until dropped.
pub struct Collector {
    address: SocketAddr,
    sink: Sink,
    _runtime: tokio::runtime::Runtime,
}

impl Collector {
    /// Starts listening.
    #[must_use]
    pub fn start() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let sink = Sink::default();
        let listener = runtime
            .block_on(tokio::net::TcpListener::bind("127.0.0.1:0"))
            .unwrap();
        let address = listener.local_addr().unwrap();
        let server = tonic::transport::Server::builder()
            .add_service(TraceServiceServer::new(sink.clone()))
            .add_service(LogsServiceServer::new(sink.clone()))
            .add_service(MetricsServiceServer::new(sink.clone()));
        let incoming = tokio_stream::wrappers::TcpListenerStream::new(listener);
        runtime.spawn(server.serve_with_incoming(incoming));
        Self {
            address,
            sink,
            _runtime: runtime,
        }
    }

    /// What `OTEL_EXPORTER_OTLP_ENDPOINT` is set to.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// All spans so far.
    #[must_use]
    pub fn spans(&self) -> Vec<ReceivedSpan> {
        self.sink.0.lock().unwrap().spans.clone()
    }

    /// The texts of all log records so far.
    #[must_use]
    pub fn logs(&self) -> Vec<String> {
        self.sink.0.lock().unwrap().logs.clone()
    }

    /// All that was received, as text.
    #[must_use]
    pub fn everything(&self) -> String {
        self.sink.0.lock().unwrap().everything.clone()
    }

    /// Variables that make a program send here, and soon.
    #[must_use]
    pub fn environment(&self) -> Vec<(String, String)> {
        [
            ("OTEL_EXPORTER_OTLP_ENDPOINT", self.endpoint().as_str()),
            ("OTEL_BSP_SCHEDULE_DELAY", "200"),
            ("OTEL_BLRP_SCHEDULE_DELAY", "200"),
            ("OTEL_METRIC_EXPORT_INTERVAL", "1000"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .to_vec()
    }

    /// The names of all metrics so far.
    #[must_use]
    pub fn metrics(&self) -> Vec<String> {
        self.sink.0.lock().unwrap().metrics.clone()
    }
}

fn hex(bytes: &[u8]) -> String {
    hex::encode(bytes)
}

fn texts(attributes: Vec<KeyValue>) -> Vec<(String, String)> {
    let pair = |attribute: KeyValue| Some((attribute.key, text(attribute.value?.value?)?));
    attributes.into_iter().filter_map(pair).collect()
}

#[tonic::async_trait]
impl TraceService for Sink {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let mut received = self.0.lock().unwrap();
        let request = request.into_inner();
        received.everything.push_str(&format!("{request:?}\n"));
        for of_resource in request.resource_spans {
            let attributes = of_resource.resource.unwrap_or_default().attributes;
            let service = attributes
                .into_iter()
                .find(|attribute| attribute.key == "service.name")
                .and_then(|attribute| text(attribute.value?.value?))
                .unwrap_or_default();
            for span in of_resource
                .scope_spans
                .into_iter()
                .flat_map(|scope| scope.spans)
            {
                received.spans.push(ReceivedSpan {
                    service: service.clone(),
                    name: span.name,
                    trace: hex(&span.trace_id),
                    id: hex(&span.span_id),
                    parent: hex(&span.parent_span_id),
                    attributes: texts(span.attributes),
                });
            }
        }
        Ok(Response::new(Default::default()))
    }
}

#[tonic::async_trait]
impl LogsService for Sink {
    async fn export(
        &self,
        request: Request<ExportLogsServiceRequest>,
    ) -> Result<Response<ExportLogsServiceResponse>, Status> {
        let request = request.into_inner();
        let everything = format!("{request:?}\n");
        let lines = request
            .resource_logs
            .into_iter()
            .flat_map(|of_resource| of_resource.scope_logs)
            .flat_map(|scope| scope.log_records)
            .filter_map(|record| text(record.body?.value?));
        let mut received = self.0.lock().unwrap();
        received.everything.push_str(&everything);
        received.logs.extend(lines);
        Ok(Response::new(Default::default()))
    }
}

#[tonic::async_trait]
impl MetricsService for Sink {
    async fn export(
        &self,
        request: Request<ExportMetricsServiceRequest>,
    ) -> Result<Response<ExportMetricsServiceResponse>, Status> {
        let request = request.into_inner();
        let everything = format!("{request:?}\n");
        let names = request
            .resource_metrics
            .into_iter()
            .flat_map(|of_resource| of_resource.scope_metrics)
            .flat_map(|scope| scope.metrics)
            .map(|metric| metric.name);
        let mut received = self.0.lock().unwrap();
        received.everything.push_str(&everything);
        received.metrics.extend(names);
        Ok(Response::new(Default::default()))
    }
}

fn text(value: Value) -> Option<String> {
    match value {
        Value::StringValue(text) => Some(text),
        _ => None,
    }
}
