return head_count()
