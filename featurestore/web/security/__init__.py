"""Who may ask, and how much: keys, hosts, origins, rates and queues, checked before a request reaches its route.

It knows which scope and lane a route declares, and nothing of what is asked there.
"""
