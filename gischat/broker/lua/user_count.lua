return user_count()
