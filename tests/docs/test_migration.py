"""No class and no call of a form is left out, and what stands beside it is there."""

from __future__ import annotations

import re

import pytest

from deploy.local.state import ROOT

PAGE = (ROOT / "docs" / "migration.md").read_text(encoding="utf-8")
#: The names that each form has, by the head of its part.
FORMS = {
    "From plain Celery": (
        "app.task delay apply_async send_task AsyncResult revoke countdown eta expires time_limit "
        "soft_time_limit priority autoretry_for retry_backoff max_retries self.retry rate_limit "
        "acks_late reject_on_worker_lost visibility_timeout chain group chord starmap chunks link "
        "link_error beat_schedule crontab update_state on_failure task_failure task_routes "
        "task_always_eager"
    ),
    "A stack of fallbacks, MCP, a database and caches": (
        "FallbackChain FallbackStrategy ADAPTIVE SEQUENTIAL PARALLEL WEIGHTED add_fallback execute "
        "MCPServer register_resource ResourceType MCPClient connect_server read_resource prompts "
        "sampling DatabaseManager save_task load_task save_result query_tasks TaskStatus "
        "get_statistics CacheManager cache_result get_cached_result cached_computation warm_cache "
        "get_overall_hit_rate MultiAgentSystem enable_learning start execute_task"
    ),
    "A swarm with votes, tools, plug-ins and failover": (
        "InMemoryPubSub PubSubMessage MessagePriority subscribe publish AgentSwarm broadcast "
        "request_consensus required_votes distribute_work round_robin ConflictResolver AgentVote "
        "ConflictType VoteType MAJORITY SUPERMAJORITY UNANIMOUS WEIGHTED RANKED_CHOICE "
        "resolve_conflict winning_option consensus_score create_builtin_tools_library "
        "ToolRegistry register_tool execute_tool OpenAPIParser parse_spec extract_tools "
        "register_tools_from_spec PluginManager discover_plugins install_plugin list_plugins "
        "DistributedEngine ExecutionMode "
        "initialize submit_task wait_for_task parallel_map get_cluster_stats RAY_AVAILABLE "
        "HealthMonitor register_component start_monitoring FailoverManager register_backup "
        "get_active_component CircuitBreaker LoadTester LoadProfile run_load_test RAMP_UP "
        "requests_per_second latency_p95 error_rate message_broker enable_pubsub "
        "enable_conflict_resolution"
    ),
    "Patterns as classes of one process": (
        "EventStore append_event snapshots EventSource publish_event CommandBus register_handler "
        "dispatch QueryBus TaskOrchestrator define_workflow execute_workflow AdvancedScheduler "
        "PriorityQueue ResourcePool schedule_task execute_scheduled_tasks DistributedStateManager "
        "update_state get_state StateSynchronizer version_vectors synchronize_states "
        "CircuitBreaker RetryMechanism Tracer start_trace add_span end_trace MetricsAggregator "
        "record_metric get_statistics Cache LoadBalancer add_server get_next_server "
        "least_connections AuthenticationManager generate_token validate_token "
        "AuthorizationManager grant_permission check_permission"
    ),
    "Orchestrators of agents": (
        "Agent Orchestrator coordinator hierarchical run DynamicOrchestrator "
        "create_agents_for_task AdaptiveOrchestrator strategy_selector SharedMemory LongTermMemory "
        "vector_db embedding_model ContextManager sliding_window compression_ratio "
        "PersonalityAgent communication_style SpecializedAgent CodeReviewAgent review_criteria "
        "review_code evaluate ParallelOrchestrator max_concurrent batch_size batch_process "
        "ResourceManager max_tokens_per_minute max_concurrent_requests priority_queue "
        "IntelligentCache semantic similarity_threshold CircuitBreaker half_open_attempts "
        "CompensatingOrchestrator compensation_map api_call_failed agent_timeout consensus_failed "
        "Tracer span MetricsCollector push_gateway track percentile EventBus MicroserviceAgent "
        "service_url retry_policy MockBackend AgentTester test_response OrchestratorTester "
        "mock_responses expected_interactions"
    ),
    "A framework with an API, security and monitoring": (
        "OpenAIAgent ClaudeAgent GeminiAgent create_agent exponential_backoff retry_with_backoff "
        "count_tokens TokenBudgetManager DatabaseManager RedisCache InMemoryVectorStore "
        "EncryptionManager ContentFilter RBAC CircuitBreaker PrometheusMetrics TracingManager "
        "PerformanceMonitor HealthChecker MAOFConfig Router ContextManager ResultAggregator "
        "create_orchestrator docker-compose.yml Dockerfile /tasks /agents /metrics /health"
    ),
}


def part(head: str) -> str:
    return PAGE.partition(f"\n## {head}\n")[2].partition("\n## ")[0]


def left(head: str) -> str:
    """What stands in the left columns of a part's tables."""
    return "\n".join(row.split("|")[1] for row in part(head).splitlines() if row.startswith("| "))


@pytest.mark.parametrize("head", FORMS)
def test_nothing_of_a_form_is_left_out(head: str) -> None:
    words = set(re.findall(r"[\w./-]+", left(head))) | set(re.findall(r"\w+", left(head)))
    assert [name for name in FORMS[head].split() if name not in words] == []


def test_each_part_is_of_a_form_and_has_code() -> None:
    heads = re.findall(r"^## (.*)$", PAGE, re.MULTILINE)
    assert heads == list(FORMS)
    assert all("```python\n" in part(head) for head in heads)


def test_both_demonstrations_are_shown_line_by_line() -> None:
    shown = PAGE.split("Its demonstration, line by line:\n\n")[1:]
    assert [demo.partition("\n\n")[0].count("\n") - 1 for demo in shown] == [6, 5]
