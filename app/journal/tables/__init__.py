"""Small tables: workers, ticks of schedules, memos, agents, health."""
